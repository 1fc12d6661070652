"""Interns strings: the string indexer and the series (design: Sentry's, without its sequence and limiter)."""
