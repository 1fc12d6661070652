"""A directory of range functions that only a test lists: a new function is one file like breadth.py."""
