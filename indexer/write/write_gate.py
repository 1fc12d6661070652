"""A gate of INSERTs: many pass at once, or one deletion of an org while none of that org does.

An INSERT passes it with all it does, from the look-up of its strings on. A deletion that has it alone sees
every INSERT of its org whole or not at all; those of other orgs continue. Thread-safe.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager


class WriteGate:
    """See the module."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()  # INSERTs by org
        self._closed: frozenset[int] = frozenset()

    @property
    def closed(self) -> frozenset[int]:
        """The orgs whose INSERTs wait for a deletion."""
        return self._closed

    def enter(self, orgs: Collection[int]) -> frozenset[int]:
        """Enter with an INSERT of those orgs that are open; return the others. Does not wait."""
        with self._changed:
            held = self._closed.intersection(orgs)
            self._inside.update(set(orgs) - held)
            return held

    def leave(self, orgs: Collection[int]) -> None:
        """End an INSERT of orgs that it entered with."""
        with self._changed:
            for org_id in set(orgs):
                self._inside[org_id] -= 1
                if not self._inside[org_id]:
                    del self._inside[org_id]
            self._changed.notify_all()

    @contextmanager
    def insert(self, orgs: Collection[int]) -> Iterator[None]:
        """Pass with an INSERT of orgs, once all of them are open."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed.isdisjoint(orgs))
            self._inside.update(set(orgs))
        try:
            yield
        finally:
            self.leave(orgs)

    @contextmanager
    def alone(self, org_id: int, max_wait_s: float) -> Iterator[None]:
        """Hold INSERTs of an org back, once those inside have ended. Raises TimeoutError."""
        with self._changed:
            self._changed.wait_for(lambda: org_id not in self._closed)
            self._closed |= {org_id}
            quiet = self._changed.wait_for(lambda: not self._inside[org_id], max_wait_s)
        try:
            if not quiet:
                raise TimeoutError
            yield
        finally:
            with self._changed:
                self._closed -= {org_id}
                self._changed.notify_all()
