"""Persists which chunks and look-ups were in use, so that a restart can warm the caches.

The file lies beside the embedded store. It holds hints, never data: the warmer asks the store again, so an
old, a damaged or a missing file changes no answer. It holds label values of queries, so only its owner may
read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from agent.runtime.replace_file import replace_file
from shim.catalog.types import SelectionKey
from shim.read.cell_cache.chunk import CHUNK_SPAN_S, ChunkKey

T = TypeVar("T")

_FORMAT: Final = 1
#: Bytes that chunks, and look-ups, may take in the file; the least recently used are left out.
MAX_BYTES: Final = 1 << 20


class WarmState(msgspec.Struct, frozen=True):
    """Chunks and look-ups, ordered by last use, most recent last."""

    places: tuple[ChunkKey, ...] = ()
    looks: tuple[SelectionKey, ...] = ()
    format: int = _FORMAT


def load(path: Path) -> WarmState:
    """Return the saved state; an empty one if the file is missing or cannot be read."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=WarmState)
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return WarmState()
    if found.format != _FORMAT:
        return WarmState()
    return WarmState(tuple(p for p in found.places if _is_filled(p)), found.looks)


def _is_filled(place: ChunkKey) -> bool:
    """Return whether it is a chunk of a table's column. Only a query makes merged sketches."""
    stretch_s = CHUNK_SPAN_S.get(place.granularity_s)
    if stretch_s is None or place.source.selection:
        return False
    return place.start_s >= 0 and place.start_s % stretch_s == 0


def save(path: Path, recent: WarmState) -> None:
    """Save the state atomically. Raises OSError."""
    kept = WarmState(_latest([p for p in recent.places if _is_filled(p)]), _latest(recent.looks))
    replace_file(path, msgspec.json.encode(kept))


def _latest(items: Sequence[T]) -> tuple[T, ...]:
    left = MAX_BYTES
    for number in range(len(items) - 1, -1, -1):
        left -= len(msgspec.json.encode(items[number])) + 1
        if left < 0:
            return tuple(items[number + 1 :])
    return tuple(items)
