"""The agent: receives StatsD lines, aggregates them into 10 s buckets, forwards frames to the indexer."""
