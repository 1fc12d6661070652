"""The numbers of a running indexer for a status line. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """Numbers for a status line, since the start."""

    rows: int
    series: int
    last_write_s: float  # Unix time; 0 when nothing was written
