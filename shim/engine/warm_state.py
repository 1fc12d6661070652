"""What was asked lately, on its way over a restart: a small file beside the embedded store.

Which blocks of cells were in memory, and which series were looked up. Hints, never data: whoever reads them
asks the store again, so an old file, a strange one or none changes no answer. It holds label values that were
asked for, and is readable for its owner alone, as the store is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from shim.catalog.types import SelectionKey
from shim.read.cell_cache.chunk import CHUNK_SPAN_S, ChunkKey

T = TypeVar("T")

_FORMAT: Final = 1
#: Bytes that blocks, and look-ups, may take in the file; what was used longest ago is left out.
MAX_BYTES: Final = 1 << 20


class WarmState(msgspec.Struct, frozen=True):
    """What was used last stands last."""

    places: tuple[ChunkKey, ...] = ()
    looks: tuple[SelectionKey, ...] = ()
    format: int = _FORMAT


def load(path: Path) -> WarmState:
    """What was saved; nothing where there is no file, or one that cannot be read."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=WarmState)
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return WarmState()
    if found.format != _FORMAT:
        return WarmState()
    return WarmState(tuple(p for p in found.places if _is_filled(p)), found.looks)


def _is_filled(place: ChunkKey) -> bool:
    """Whether it is a block of a table's column. Merged sketches are made by a query alone."""
    stretch_s = CHUNK_SPAN_S.get(place.granularity_s)
    if stretch_s is None or place.source.selection:
        return False
    return place.start_s >= 0 and place.start_s % stretch_s == 0


def save(path: Path, recent: WarmState) -> None:
    """Whole or not at all. Raises OSError."""
    kept = WarmState(_latest([p for p in recent.places if _is_filled(p)]), _latest(recent.looks))
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(kept))
    new.replace(path)


def _latest(items: Sequence[T]) -> tuple[T, ...]:
    left = MAX_BYTES
    for number in range(len(items) - 1, -1, -1):
        left -= len(msgspec.json.encode(items[number])) + 1
        if left < 0:
            return tuple(items[number + 1 :])
    return tuple(items)
