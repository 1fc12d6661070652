"""The language of StatsD lines. Pure."""
