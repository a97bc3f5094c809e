"""Looks at the files of a site and tells what is wrong with them, and how to mend it.

Rules are pure functions over files that were read already; only `examine` touches the disk. Nothing is changed.
"""
