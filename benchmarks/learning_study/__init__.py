"""What `benchmarks/learning.py` is made of: the runs, how one is played, and what they come to."""
