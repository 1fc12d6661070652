"""Subcommands of the indexer: serving, and what operators run on stored data."""
