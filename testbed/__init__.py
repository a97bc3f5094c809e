"""Trials of a whole site on one machine: faults, load, hostile input. Imports everything, is imported by nothing.

Never in the wheel: what a site needs to run must not depend on what we need to try it.
"""
