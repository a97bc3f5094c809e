"""The exact solver of the paper's decision problem P1 (equation 2), with contention at edge and cloud.

It proves an optimum or raises; it never returns a guess. It knows arrays of times and integers only: no agent, no
simulator, no clock and no broker.
"""
