"""Indexers that are other processes, asked over HTTP."""
