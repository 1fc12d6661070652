"""Evaluation of PromQL over whole grids in NumPy: one construct per file. Pure.

Nothing here reads a store, knows SQL or parses text. Missing points are `present == False`; the value at such
a point is arbitrary and must never reach a present point.
"""
