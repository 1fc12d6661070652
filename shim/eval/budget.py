"""How evaluation asks for memory and time: before arrays are made, and between turns of loops. Pure."""

from __future__ import annotations

from collections.abc import Callable

#: Asked before so many numbers are made; 0 asks for time alone. Raises QueryError where they are too many,
#: where time is up, or where the client has gone.
Take = Callable[[int], None]


def free(cells: int) -> None:
    """Let everything be made: for callers without a limit."""
