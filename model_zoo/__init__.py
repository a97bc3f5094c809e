"""The eight networks d0..d7: what they are, how to get them, whether a file is one of them, and how to run one.

It knows files, graphs and pixels. It never publishes a message, draws on a terminal or chooses a model: progress goes
to a callback that the caller passes in, and heavy libraries (NumPy, Pillow, LiteRT) are imported on first use only.
"""
