"""Bytes of frames that are held, as a whole and by org: no org's backlog keeps the others out. Pure."""

from __future__ import annotations

from collections import Counter


class HeldBytes:
    """At most `max_bytes` together; of one org at most half of that once a second org has sent anything.

    Where nothing is held, a frame of any size is taken: a bound must not keep a frame out for ever.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._by_org: Counter[int] = Counter()
        self._first_org: int | None = None
        self._several = False
        self.total = 0

    def take(self, org_id: int, size: int) -> bool:
        """Count `size` bytes as held; return False, and count nothing, where that is too much."""
        if self._first_org is None:
            self._first_org = org_id
        self._several = self._several or org_id != self._first_org
        held = self._by_org[org_id]
        if self.total and self.total + size > self._max_bytes:
            return False
        if held and self._several and held + size > self._max_bytes // 2:
            return False
        self._by_org[org_id] += size
        self.total += size
        return True

    def release(self, org_id: int, size: int) -> None:
        """Count `size` bytes as free again."""
        self.total -= size
        self._by_org[org_id] -= size
        if self._by_org[org_id] <= 0:
            del self._by_org[org_id]
