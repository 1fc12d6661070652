"""A lock that lets one process at once use a directory.

Owns the file `lock` in it. The lock ends with its holder's process, in whatever way that ends; the file
contains the holder's process id.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final

_RETRY_S: Final = 0.05
_MAX_PID_BYTES: Final = 20


class DirInUseError(OSError):
    """Another process uses the directory; the text is shown to the user."""


class DirLock:
    """Lock the directory at `path`; wait for its holder at most `wait_s`.

    Creates the directory (mode 0700) if it does not exist. Raises DirInUseError, and OSError if it cannot be
    used.
    """

    def __init__(self, path: Path, wait_s: float = 0.0) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end_s = time.monotonic() + wait_s
        while not self._take():
            if time.monotonic() >= end_s:
                holder = _pid(self._file)
                os.close(self._file)
                raise DirInUseError(f"another meterhouse agent{holder} uses {path}")
            time.sleep(_RETRY_S)
        with contextlib.suppress(OSError):  # a full disk: the lock holds even without the number
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def _take(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let others use the directory."""
        os.close(self._file)


def _pid(file: int) -> str:
    said = os.pread(file, _MAX_PID_BYTES, 0)
    return f" (pid {said.decode()})" if said.isdigit() else ""
