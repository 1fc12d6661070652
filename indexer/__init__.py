"""Interns strings to ids and writes frames into ClickHouse exactly once."""
