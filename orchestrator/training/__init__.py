"""Lets any agent learn on a simulated site, and judges what it has learned against the proven optimum.

Agents and simulator meet here and nowhere else. It draws no picture and knows no command line.
"""
