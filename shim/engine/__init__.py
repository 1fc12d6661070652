"""The query engine: text to plan to reads to value, the live edge, and the caches warmed after a restart."""
