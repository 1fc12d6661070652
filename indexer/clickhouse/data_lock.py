"""The lock on the data of an embedded store, which one process at once may hold.

Owns the file `<path>.lock` beside the data, which holds the process id of its holder. The lock is taken
before ClickHouse opens the data, because ClickHouse's own refusal (codes 76 and 36) does not name the holder.
The kernel releases it when the process ends in any way. It belongs to the process, which may take it more
than once.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from indexer.clickhouse.private_files import make_private

_AGAIN_S: Final = 0.1


class DataInUseError(OSError):
    """Another process holds the data; the text names it."""


class DataLock:
    """Holds the lock on the data at `path` until `close`.

    Waits up to `wait_s` for another process to end. Raises DataInUseError, or OSError if the file cannot be
    made.
    """

    def __init__(self, path: Path, wait_s: float = 0.0) -> None:
        make_private(path.parent, existing=False)
        self._fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(path, time.monotonic() + wait_s)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
        except BaseException:
            self.close()
            raise

    def _take(self, path: Path, deadline_s: float) -> None:
        while True:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                if time.monotonic() >= deadline_s:
                    raise DataInUseError(
                        f"another meterhouse (pid {self._holder()}) uses {shown(path)}"
                    ) from None
                time.sleep(_AGAIN_S)
            else:
                return

    def _holder(self) -> str:
        return os.pread(self._fd, 20, 0).decode(errors="replace").strip() or "unknown"

    def close(self) -> None:
        """Release the lock. Closing twice does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def shown(path: Path) -> str:
    """Return the path as a user in this directory would write it."""
    try:
        return f"./{path.resolve().relative_to(Path.cwd())}"
    except ValueError:
        return str(path)
