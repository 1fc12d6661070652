"""Requests of the evaluation for memory and time: before arrays are made, and during long loops. Pure."""

from __future__ import annotations

from collections.abc import Callable

#: Called before this number of values is made; 0 asks for time alone. Raises QueryError for too many values,
#: when time is up, or when the client has gone.
Take = Callable[[int], None]


def free(cells: int) -> None:
    """Grant every request: for callers without a limit."""
