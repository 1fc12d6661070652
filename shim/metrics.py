"""The shim's own metrics, in a registry of their own: `meterhouse_shim_*`."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class ShimMetrics:
    """Every metric of the shim, by name. Docs: docs/metrics.md."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter(
            "meterhouse_shim_requests", "Requests by endpoint and status.", ["endpoint", "status"], registry=r
        )
        self.request_seconds = Histogram(
            "meterhouse_shim_request_seconds",
            "Time to answer a request.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=r,
        )
        self.errors = Counter(
            "meterhouse_shim_errors", "Failed requests by Prometheus' errorType.", ["error_type"], registry=r
        )
        self.refused = Counter(
            "meterhouse_shim_refused", "Requests not even tried, by reason.", ["reason"], registry=r
        )
        self.truncated = Counter(
            "meterhouse_shim_truncated", "Answers cut by their limit parameter.", ["endpoint"], registry=r
        )
        self.in_flight = Gauge("meterhouse_shim_queries_running", "Queries worked on now.", registry=r)
        self.waiting = Gauge(
            "meterhouse_shim_queries_waiting", "Queries that wait for their turn.", registry=r
        )
        self.answer_bytes = Counter(
            "meterhouse_shim_answer_bytes", "Bytes of JSON before compression.", registry=r
        )
        self.catalog_lookups = Counter(
            "meterhouse_shim_catalog_lookups",
            "Look-ups of series, by where the answer came from.",
            ["source"],
            registry=r,
        )
        self.catalog_evictions = Counter(
            "meterhouse_shim_catalog_evictions",
            "Entries dropped from a cache of the catalog because it was full.",
            ["cache"],
            registry=r,
        )
        self.catalog_series = Gauge(
            "meterhouse_shim_catalog_series", "Series whose labels are in memory.", registry=r
        )
        self.name_collisions = Counter(
            "meterhouse_shim_name_collisions",
            "Series left out of a look-up because another has the same shown name and labels.",
            registry=r,
        )
        self.block_lookups = Counter(
            "meterhouse_shim_block_lookups", "Blocks of cells that readings wanted.", ["result"], registry=r
        )
        self.block_fills = Counter(
            "meterhouse_shim_block_fills",
            "Blocks that were to be read into memory, by what became of it.",
            ["outcome"],
            registry=r,
        )
        self.blocks_dropped = Counter(
            "meterhouse_shim_blocks_dropped", "Blocks taken out of memory.", ["reason"], registry=r
        )
        self.block_bytes = Gauge(
            "meterhouse_shim_block_bytes", "Memory that blocks of cells take.", registry=r
        )
