"""Evaluation of PromQL over whole grids in NumPy: one construct, one file. Pure.

Nothing here reads a store, knows SQL or parses text. Missing points are `present == False`; what an array
holds there is garbage and must never reach a present point.
"""
