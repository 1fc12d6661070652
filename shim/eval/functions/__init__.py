"""PromQL's functions on instant vectors and scalars, one construct a file; `registry.py` lists them."""
