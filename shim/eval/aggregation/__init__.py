"""The aggregation operators, one construct per file; `shim/eval/aggregate.py` is the entry point."""
