"""Directories and files that their owner alone may read: the data, the journal and its log.

What an older version made for everybody is closed when it is opened again; what belongs to somebody else is
left as it is.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_DIRECTORY = 0o700
_FILE = 0o600


def make_private(path: Path, *, existing: bool = True) -> None:
    """Make a directory, and those above it that are missing, for the owner alone. Raises OSError.

    `existing`: close it also when it exists; not for one that may hold files of others.
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
    """Take from group and others what `mode` does not give; not from what belongs to another user."""
    if path.stat().st_mode & 0o777 & ~mode:
        with suppress(PermissionError):
            path.chmod(mode)
