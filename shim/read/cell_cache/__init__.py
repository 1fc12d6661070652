"""Decoded cells kept in memory, so that a reading that was made before needs no statement.

A *block* is all there is of one metric, in one rollup and one aligned stretch of time, as a matrix of series
x buckets. Selectors, groupings and windows are then sums over rows and columns. What a block holds is what
the statement would read: writes of this process change or drop it (indexer/write/insert_feed.py), and with a
writer elsewhere there are no blocks. docs/decisions/blocks.md.
"""
