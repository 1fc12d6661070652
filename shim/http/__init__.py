"""The HTTP edge: Prometheus' API over the engine and the catalog."""
