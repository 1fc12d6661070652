"""The compiled near cache of string ids (indexer/strings/cache.py is its definition)."""
