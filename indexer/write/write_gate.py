"""A gate of INSERTs: many pass at once, or one deletion while none does.

An INSERT passes it with all it does, from the look-up of its strings on. A deletion that has it alone sees
every INSERT whole or not at all. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class WriteGate:
    """See the module."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    @contextmanager
    def insert(self) -> Iterator[None]:
        """Pass, together with other INSERTs; wait while a deletion has the gate, or waits for it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self, max_wait_s: float) -> Iterator[None]:
        """Hold INSERTs back, once those inside have ended. Raises TimeoutError if they last longer."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._closed = True
            quiet = self._changed.wait_for(lambda: not self._inside, max_wait_s)
        try:
            if not quiet:
                raise TimeoutError
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()
