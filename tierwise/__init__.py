"""The front door: the `tierwise` command and the demo.

It starts and watches the other programs, and shows people what they do. It decides nothing, runs no network, and no
other package may import it.
"""
