"""The binary operators, one construct per file; `shim/eval/binary.py` is the entry point."""
