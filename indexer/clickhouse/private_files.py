"""Makes directories and files that only their owner may read: data, journal and its log.

Files that an older version made readable for all are closed when they are opened again. Files of other users
are left as they are.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_DIRECTORY = 0o700
_FILE = 0o600


def make_private(path: Path, *, existing: bool = True) -> None:
    """Make a directory and its missing parents, readable by the owner alone. Raises OSError.

    `existing`: also close a directory that exists; not for one that may hold files of others.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):  # another process makes it at the same time
            one.mkdir(mode=_DIRECTORY)
    if existing and not missing:
        _close(path, _DIRECTORY)


def make_private_file(path: Path) -> None:
    """Make an SQLite file for the owner alone, or close it with its log and index. Raises OSError.

    SQLite gives the log and the index the mode of the file.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE))
    for one in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if one.exists():
            _close(one, _FILE)


def _close(path: Path, mode: int) -> None:
    """Remove the permissions of group and others that `mode` lacks; leave files of other users alone."""
    if path.stat().st_mode & 0o777 & ~mode:
        with suppress(PermissionError):
            path.chmod(mode)
