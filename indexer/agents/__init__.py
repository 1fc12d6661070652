"""Agents as the indexer knows them: heartbeats, gaps, completeness of buckets, and `up`."""
