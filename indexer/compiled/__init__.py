"""What is compiled of the indexer, where there was a compiler; each part has its definition in Python.

`id_table`: strings to ids (indexer/strings/cache.py). `order`: rows by their keys (indexer/columns.py).
`tags`: a hash of the tags of each series (indexer/series.py).
"""
