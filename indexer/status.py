"""The numbers of a running indexer for a status line. Pure."""

from __future__ import annotations

import msgspec


class Status(msgspec.Struct, frozen=True):
    """Numbers for a status line, since the start."""

    rows: int
    series: int
    last_write_s: float  # Unix time; 0 when nothing was written
