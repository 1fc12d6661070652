"""Several indexers and shims, a Redis and many agents, of which everything but ClickHouse is killed."""
