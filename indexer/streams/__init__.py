"""Consumes messages from a Redis stream, exactly once."""
