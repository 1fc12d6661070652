"""The settings of the shim: section `[shim]`. Read once, at the entry point, and passed down."""

from __future__ import annotations

from typing import Literal

import msgspec

from indexer.schema.tables import Retention
from shim.tenancy import TenancySettings


class CatalogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.catalog]`: the look-up of series."""

    #: Series whose labels are kept in memory, over all tenants.
    cache_series: int = 500_000
    #: Finished look-ups that are kept (only used when the indexer runs in the same process).
    cache_selections: int = 1_000
    #: Strings (names, label names, label values) that are kept in memory.
    cache_strings: int = 1_000_000
    #: How old the index of metric names and label names may become before it is read again, in seconds.
    names_max_age_s: float = 10.0
    #: Series one selector may look at to find those it wants.
    max_scanned_series: int = 5_000_000


class CacheSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.cache]`: decoded cells in memory, where this process also writes (`meterhouse up`)."""

    #: Bytes of memory for blocks of cells (an embedded store only); 0: none, every reading is a statement.
    max_bytes: int = 268_435_456
    #: Readings of all series of a metric after which a block is filled; of some series four times as many.
    fill_after: int = 2

    def __post_init__(self) -> None:
        if self.max_bytes < 0 or self.fill_after < 1:
            raise ValueError("max_bytes must not be negative, fill_after at least 1")


class ShimSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim]`."""

    #: Where the HTTP API listens, host:port; port 0 takes a free one.
    listen: str = "127.0.0.1:9090"
    #: The ClickHouse to read: chdb:///path or http(s)://user:password@host:port/database.
    dsn: str = "chdb:///./data/chdb"
    #: How long a series stays present after its last data, in seconds (Prometheus' lookback delta).
    lookback_s: float = 300.0
    #: How long after its end a bucket is taken to be complete, in seconds; 0 turns the wait off.
    settle_s: float = 5.0
    #: Points one series of an answer may have.
    max_points: int = 11_000
    #: Series one selector may select.
    max_series: int = 100_000
    #: Samples (points of arrays) one query may hold in memory at a time.
    max_samples: int = 50_000_000
    #: The longest a query may take, in seconds; a request may ask for less.
    timeout_s: float = 120.0
    #: Queries that are worked on at the same time.
    concurrency: int = 4
    #: Queries that may wait for their turn; more are refused with 503.
    max_waiting: int = 100
    #: How names that are no legacy Prometheus names are shown: "underscore" (http_requests) or "utf8".
    names: Literal["underscore", "utf8"] = "underscore"
    #: Origins (an anchored regex) that browsers may call the API from.
    cors_origin: str = ".*"
    #: Whether PromQL that Prometheus calls experimental may be used (info, fill modifiers, limitk, ...).
    experimental: bool = True
    #: Bytes a request's form may have.
    max_form_bytes: int = 10_000_000
    #: Whose data a request sees.
    tenancy: TenancySettings = TenancySettings()
    #: How long rows are kept, as the indexer is set to: older windows are read from coarser rollups.
    retention: Retention = Retention()
    #: The look-up of series.
    catalog: CatalogSettings = CatalogSettings()
    #: Decoded cells in memory.
    cache: CacheSettings = CacheSettings()

    def __post_init__(self) -> None:
        for name in ("max_points", "max_series", "max_samples", "timeout_s", "concurrency", "lookback_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0")
        if self.settle_s < 0:
            raise ValueError("settle_s must not be negative")
