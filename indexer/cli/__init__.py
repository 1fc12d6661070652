"""Subcommands of the indexer: serving, and operators' work on stored data."""
