"""The shim: answers the Prometheus HTTP API from ClickHouse."""
