"""Instant queries that one thread evaluates one after the other: one hand-over between threads for all.

Beside threads that compute, each hand-over waits for the interpreter (indexer/http/interpreter_lock.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shim.engine.api import Answered, QueryResult
from shim.model.errors import QueryError
from shim.read.reader import Reader

T = TypeVar("T")


@dataclass(slots=True)
class InstantBatch(Generic[T]):
    """`answer` evaluates a query with a reader of `reader`; `work` makes something of its result."""

    answer: Callable[[Reader, str], QueryResult]
    reader: Callable[[], Reader]
    work: Callable[[QueryResult], T]
    found: list[Answered[T]] = field(default_factory=list)
    _current: Reader | None = None
    _canceled: bool = False

    def run(self, queries: Sequence[str], together_s: float) -> None:
        """Evaluate queries; none begins after `together_s`, but the first."""
        until_s = time.monotonic() + together_s
        for query in queries:
            if self.found and time.monotonic() >= until_s:
                return
            self._current, began_s = self.reader(), time.perf_counter()
            if self._canceled:
                return
            try:
                value: T | QueryError = self.work(self.answer(self._current, query))
            except QueryError as e:
                value = e
            self.found.append(Answered(value, time.perf_counter() - began_s))

    def cancel(self) -> None:
        """End the query that runs, and begin no more."""
        self._canceled = True
        if self._current is not None:
            self._current.cancel()
