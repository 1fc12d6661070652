"""PromQL's functions of instant vectors and scalars, one construct per file; `registry.py` finds them."""
