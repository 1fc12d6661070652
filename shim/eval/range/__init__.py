"""Functions of range vectors, one construct a file; `registry.py` lists them, `evaluate.py` runs them."""
