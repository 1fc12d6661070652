"""Functions of range vectors: each is one record (shim/eval/window/function.py) in its own file."""
