"""What is being written right now, told to whoever keeps read cells in memory.

Owns one fact: every INSERT of samples in this process is announced before it starts and again when it has
ended, with the metrics and buckets it touches (`Listener`). Holds no samples and knows no reader. It is of
use only where this process is the one that writes: on an embedded store.

Thread-safe. Listeners are called in the writer's thread and must be quick; they raise nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import numpy as np

from indexer.clickhouse.native_format import AnyArray
from indexer.clickhouse.schema.tables import Kind
from indexer.write.frame_to_columns import Block


class Span(NamedTuple):
    """The rows `[begin, end)` of one project's metric in an INSERT, and its first and last bucket start."""

    project_id: int
    begin: int
    end: int
    first_s: int
    last_s: int


class Touched:
    """What one INSERT of a sorted block touches. Found by metric, of which a reader asks for few of many."""

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
        spans = (project[begin], begin, end, *(f.reduceat(bucket, begin) for f in (np.minimum, np.maximum)))
        self._spans = [column[order] for column in spans]

    def spans(self, org_id: int, metric_id: int) -> list[Span]:
        """The spans of a metric, one a project."""
        wanted = self._metric.dtype.type(metric_id)
        lo, hi = (int(np.searchsorted(self._metric, wanted, side)) for side in ("left", "right"))
        return [
            Span(*(int(column[i]) for column in self._spans)) for i in range(lo, hi) if self._org[i] == org_id
        ]


class Listener(Protocol):
    def begins(self, touched: Touched) -> None:
        """From now on its rows may or may not be seen by whoever reads."""

    def ends(self, touched: Touched, block: Block | None) -> None:
        """Its rows are there; `block` has them if this INSERT put in every one of them exactly once.

        None: it failed, or it repeated another, and nobody can say which rows are new.
        """


class Written:
    """Where INSERTs are announced, and who listens."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._under_way: list[Touched] = []
        self._listeners: tuple[Listener, ...] = ()
        self._pauses = 0

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` from now on, and first of INSERTs that are under way."""
        with self._lock:
            self._listeners = (*self._listeners, listener)
            for touched in self._under_way:
                listener.begins(touched)

    @contextmanager
    def insert(self, kind: Kind, block: Block, *, first: bool) -> Iterator[None]:
        """Announce an INSERT of `block`, whose rows are in the order of `frame_to_columns.sort`.

        `first`: nobody tried to insert these rows before. Waits while somebody has paused INSERTs.
        """
        touched = Touched(kind, block)
        with self._lock:
            self._lock.wait_for(lambda: not self._pauses)
            self._under_way.append(touched)
            for listener in self._listeners:
                listener.begins(touched)
        done = None
        try:
            yield
            done = block if first else None
        finally:
            with self._lock:
                self._under_way.remove(touched)
                for listener in self._listeners:
                    listener.ends(touched, done)
                self._lock.notify_all()

    @contextmanager
    def paused(self, longest_s: float) -> Iterator[bool]:
        """No INSERT is under way and none begins; False when it took longer than `longest_s` to get there."""
        with self._lock:
            self._pauses += 1
            quiet = self._lock.wait_for(lambda: not self._under_way, longest_s)
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
