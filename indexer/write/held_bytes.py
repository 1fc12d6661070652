"""Bounds held bytes of frames in total, by org and by agent: no backlog excludes the others. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


class HeldBytes:
    """Allows at most `max_bytes` in total; half of that per org once a second org has sent anything.

    From half of the bytes on, an agent has at most an equal part among those that hold any. A first frame of
    an agent needs room in total and in its org only. If nothing is held, a frame of any size is accepted: a
    bound must not exclude a frame for ever.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._by_org: Counter[int] = Counter()
        self._by_agent: Counter[tuple[int, str]] = Counter()
        self._first_org: int | None = None
        self._several = False
        self.total = 0

    def take(self, org_id: int, size: int, agent: str = "") -> bool:
        """Count `size` bytes as held; return False, and count nothing, if that is too much."""
        if self._first_org is None:
            self._first_org = org_id
        self._several = self._several or org_id != self._first_org
        held = self._by_org[org_id]
        if self.total and self.total + size > self._max_bytes:
            return False
        if held and self._several and held + size > self._max_bytes // 2:
            return False
        if not self._within_part((org_id, agent), size):
            return False
        self.add(org_id, size, agent)
        return True

    def add(self, org_id: int, size: int, agent: str = "") -> None:
        """Count `size` bytes as held, whatever the bound."""
        self._by_org[org_id] += size
        self._by_agent[org_id, agent] += size
        self.total += size

    def _within_part(self, of: tuple[int, str], size: int) -> bool:
        held = self._by_agent.get(of, 0)
        if not held or self.total + size <= self._max_bytes // 2:
            return True
        return held + size <= self._max_bytes // len(self._by_agent)

    def release(self, org_id: int, size: int, agent: str = "") -> None:
        """Count `size` bytes as free again."""
        self.total -= size
        _subtract(self._by_org, org_id, size)
        _subtract(self._by_agent, (org_id, agent), size)


def _subtract(counts: Counter[K], key: K, size: int) -> None:
    counts[key] -= size
    if counts[key] <= 0:
        del counts[key]
