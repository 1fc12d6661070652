"""Announces INSERTs of samples to listeners in the same process, which keep cells in memory.

Every INSERT is announced before it starts and again when it ends, with the metrics and buckets that it
touches. The feed holds no samples and knows no reader. It is useful only if this process is the only writer:
on an embedded store.

Thread-safe. Listeners are called in the writer's thread, must be quick and must not raise.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import numpy as np

from indexer.clickhouse.native_format import AnyArray, Block
from indexer.clickhouse.schema.metric_types import Kind


class RowRange(NamedTuple):
    """Rows `[begin, end)` of an INSERT: one metric of one project, with its first and last bucket start."""

    project_id: int
    begin: int
    end: int
    first_s: int
    last_s: int


class InsertFootprint:
    """An index of the metrics and buckets that one INSERT of a sorted block touches, by metric."""

    def __init__(self, kind: Kind, block: Block) -> None:
        self.kind = kind
        org, project, metric, bucket = (
            _array(block, n) for n in ("org_id", "project_id", "metric_id", "bucket")
        )
        new = (metric[1:] != metric[:-1]) | (project[1:] != project[:-1]) | (org[1:] != org[:-1])
        begin = np.concatenate(([0], np.flatnonzero(new) + 1))
        end = np.append(begin[1:], len(bucket))
        order = np.argsort(metric[begin], kind="stable")
        self._metric = metric[begin][order]
        self._org = org[begin][order]
        ranges = (project[begin], begin, end, *(f.reduceat(bucket, begin) for f in (np.minimum, np.maximum)))
        self._ranges = [column[order] for column in ranges]

    def row_ranges(self, org_id: int, metric_id: int) -> list[RowRange]:
        """Return the rows of a metric, one range per project."""
        wanted = self._metric.dtype.type(metric_id)
        lo, hi = (int(np.searchsorted(self._metric, wanted, side)) for side in ("left", "right"))
        return [
            RowRange(*(int(column[i]) for column in self._ranges))
            for i in range(lo, hi)
            if self._org[i] == org_id
        ]


class InsertListener(Protocol):
    """Receives the announcements."""

    def insert_started(self, footprint: InsertFootprint) -> None:
        """Note that readers may or may not see the rows of this INSERT from now on."""

    def insert_finished(self, footprint: InsertFootprint, block: Block | None) -> None:
        """Note that the INSERT ended. `block` holds its rows if it stored each of them exactly once.

        `block` is None if the INSERT failed or repeated another one: it is unknown which rows are new.
        """


class InsertFeed:
    """Passes announcements of INSERTs on to its listeners."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._in_progress: list[InsertFootprint] = []
        self._listeners: tuple[InsertListener, ...] = ()
        self._pauses = 0

    def subscribe(self, listener: InsertListener) -> None:
        """Add a listener, and tell it first about the INSERTs in progress."""
        with self._lock:
            self._listeners = (*self._listeners, listener)
            for footprint in self._in_progress:
                listener.insert_started(footprint)

    @contextmanager
    def announce(self, kind: Kind, block: Block, *, first: bool) -> Iterator[None]:
        """Announce an INSERT of `block`, whose rows are in the order of `frame_to_columns.sort`.

        `first`: no earlier attempt to insert these rows was made. Waits while INSERTs are paused.
        """
        footprint = InsertFootprint(kind, block)
        with self._lock:
            self._lock.wait_for(lambda: not self._pauses)
            self._in_progress.append(footprint)
            for listener in self._listeners:
                listener.insert_started(footprint)
        done = None
        try:
            yield
            done = block if first else None
        finally:
            with self._lock:
                self._in_progress.remove(footprint)
                for listener in self._listeners:
                    listener.insert_finished(footprint, done)
                self._lock.notify_all()

    @contextmanager
    def paused(self, max_wait_s: float) -> Iterator[bool]:
        """Hold INSERTs back. Yield whether those in progress ended within `max_wait_s`."""
        with self._lock:
            self._pauses += 1
            quiet = self._lock.wait_for(lambda: not self._in_progress, max_wait_s)
        try:
            yield quiet
        finally:
            with self._lock:
                self._pauses -= 1
                self._lock.notify_all()


def _array(block: Block, name: str) -> AnyArray:
    column = block[name]
    assert isinstance(column, np.ndarray)  # a column of the key
    return column
