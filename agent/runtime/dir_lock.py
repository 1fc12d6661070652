"""The lock of a directory that one process may use at once.

Owns the file `lock` in it: locked while its holder lives, however that ends, with the holder's process id.
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
    """Another process uses the directory; the text is for people."""


class DirLock:
    """Lock the directory at `path`; wait for its holder at most `wait_s`.

    The directory is made (mode 0700) if it is not there. Raises DirInUseError, and OSError where it cannot be
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
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the number, too
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
