"""Compiled parts of the indexer, optional; each has its definition in Python.

`id_table`: strings to ids (indexer/intern/cache.py). `order`: rows by their keys
(indexer/write/frame_to_columns.py). `tags`: a hash of the tags of each series (indexer/intern/series.py).
"""
