"""Strings to ids and back: the string indexer (design: Sentry's, without its sequence and its limiter)."""
