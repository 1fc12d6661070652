"""The binary operators, one construct a file; `shim/eval/binary.py` is the way in."""
