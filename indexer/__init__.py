"""The indexer: turns strings into ids and writes frames into ClickHouse exactly once."""
