"""Fits the simulator's coefficients to the response log of a real site, so that a user simulates his own.

It reads a log and computes; it knows no broker, no agent and no command line, and plays nothing: the simulator does
that with the file that comes out. Every coefficient says how many rows it rests on, or whose it is if none.
"""
