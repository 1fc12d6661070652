"""Masks of bits in memory, as several indexers see them in the table of identities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping


class MemoryBits:
    """The table of identities without ClickHouse; tests/contract/test_bit_table.py compares both."""

    def __init__(self) -> None:
        self._masks: defaultdict[tuple[str, int], int] = defaultdict(int)

    def write(self, token: str, masks: Mapping[tuple[str, int], int]) -> None:  # noqa: ARG002
        for key, mask in masks.items():
            self._masks[key] |= mask

    def read(self, sources: Collection[str], first: int, last: int) -> dict[tuple[str, int], int]:
        wanted = set(sources)
        return {
            (source, block): mask
            for (source, block), mask in self._masks.items()
            if source in wanted and first <= block <= last
        }

    def has_between(self, first: str, end: str) -> bool:
        return any(first <= source < end for source, _ in self._masks)
