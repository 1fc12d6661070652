"""Lines in, buckets of 10 s with mergeable state out. Pure."""
