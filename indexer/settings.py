"""The indexer's settings: section `[indexer]` of the file, `METERHOUSE_INDEXER__*` in the environment."""

from __future__ import annotations

from typing import Literal

import msgspec

from indexer.schema.tables import Retention

Batching = Literal["auto", "journal", "frame"]


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How frames are gathered into INSERTs when one indexer owns the data (batching by journal)."""

    rows: int = 200_000  # a batch is closed when it has so many rows
    bytes: int = 64 << 20  # ... or so many bytes of frames
    linger_ms: int = 50  # ... or its oldest frame has waited so long


class Journal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file that makes batches survive a crash; used when batching by journal."""

    path: str = ""  # the SQLite file; empty: beside the embedded data, else ./data/indexer-journal.sqlite
    identities: int = 1_000_000  # so many frames are remembered as done
    identity_days: int = 14  # ... for so many days
    aside_bytes: int = 256 << 20  # batches that ClickHouse refuses are kept up to this size, the oldest go


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the indexer takes in; beyond it refuses, and counts."""

    body_bytes: int = 32 << 20  # a longer request is answered 413
    frame_bytes: int = 64 << 20  # a frame that unpacks to more is refused
    queue_bytes: int = 256 << 20  # frames waiting to be written; beyond it the answer is 503
    messages: int = 10_000  # JSON messages in one request
    future_s: int = 86_400  # a bucket that starts further in the future is refused
    cached_strings: int = 1_000_000  # strings whose ids are kept in the process
    cached_series: int = 2_000_000  # (series, day) pairs known to be in the table


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[indexer]`."""

    dsn: str = "chdb:///./data/chdb"  # chdb:///path (embedded) or http(s)://user:password@host:port/database
    cluster: str | None = None  # name of the ClickHouse cluster; none: a single node
    listen: str = "127.0.0.1:8126"  # host:port of frames, messages and metrics; port 0 takes a free one
    redis_url: str = ""  # redis://host:port/db of the cache that indexers share; empty: none
    tokens: list[str] = []  # bearer tokens, one of which agents must send; empty: none is asked for
    batching: Batching = "auto"  # journal (one indexer), frame (several may run), auto: by the DSN
    connections: int = 4  # clients of ClickHouse, and so INSERTs at a time when batching by frame
    attempts: int = 10  # tries of a batch while ClickHouse answers others, before it is set aside
    acknowledge_s: float = 20.0  # a frame not stored within that is answered 503; its batch goes on
    drain_s: float = 10.0  # at shutdown, how long to go on writing what was taken
    batch: Batch = Batch()
    journal: Journal = Journal()
    bounds: Bounds = Bounds()
    retention: Retention = Retention()
