"""Subscriptions as the indexer keeps them: their messages, and the rows of their tables."""
