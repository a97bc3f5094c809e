"""What is believed of response times, and how sure: learned online from each device's own reports.

Arrays in, arrays out: no agent, no solver, no clock and no broker. Times are in ms, local ones in their logarithm.
"""
