"""Real time-series servers, logs full of rows, and the comparison of both: for the tests and benchmarks of shipping."""
