"""Writes accepted frames into ClickHouse exactly once."""
