"""Files that may be replaced while the process runs: certificates and tokens.

Owns change detection: by modification time, size and inode, checked at most once a second. Thread-safe.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

#: Minimum time between two checks.
LOOK_S: Final = 1.0

_Mark = tuple[int, int, int] | None


class WatchedFiles:
    """A group of files that are read together. `clock_s` is time.monotonic."""

    def __init__(self, paths: Sequence[str], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._paths = [path for path in paths if path]
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._looked_s = clock_s()
        self._marks = self._look()

    def changed(self) -> bool:
        """Return whether a file changed since the previous call; reports each change once."""
        with self._lock:
            now_s = self._clock_s()
            if now_s - self._looked_s < LOOK_S:
                return False
            self._looked_s = now_s
            before, self._marks = self._marks, self._look()
            return self._marks != before

    def _look(self) -> list[_Mark]:
        return [_mark(path) for path in self._paths]


def _mark(path: str) -> _Mark:
    """Return the state of a file; None if it is missing."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a string is a path, too
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
