"""MQL, Sentry's metrics query language, as queries in SnQL."""
