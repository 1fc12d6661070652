"""Keeps decoded cells in memory, so that a repeated read needs no statement.

A *chunk* holds one metric in one rollup and one aligned span of time, as a matrix of series x buckets.
Selectors, groupings and windows are then sums over rows and columns. A chunk always equals the result of its
statement: writes of this process change or drop it (indexer/write/insert_feed.py), and with a writer in
another process there are no chunks. docs/decisions/blocks.md.
"""
