"""The aggregation operators, one construct a file; `shim/eval/aggregate.py` is the way in."""
