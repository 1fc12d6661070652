"""Readings of one query that run in parallel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

V = TypeVar("V")


def side_by_side(pool: Executor, calls: Sequence[Callable[[], V]]) -> list[V]:
    """Return the results of calls, in their order; the first error is raised.

    The first call runs in this thread, which would only wait: most queries have one reading, and waking a
    thread takes about as long as a small query.
    """
    waiting = [pool.submit(call) for call in calls[1:]]
    try:
        return [call() for call in calls[:1]] + [future.result() for future in waiting]
    finally:
        for future in waiting:
            future.cancel()
