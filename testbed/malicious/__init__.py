"""Devices with valid certificates that attack their site: what they do, and what honest devices notice of it.

It drives the real programs over a real broker with accounts. It may not change the code under test.
"""
