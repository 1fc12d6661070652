"""The agent's state directory: data that survives a restart, one file per kind.

Owns the directory (mode 0700), its lock, and the format of its files. A file is replaced as a whole: written
next to the old one, synced, renamed. It begins with a mark, a version of its content, and the length and
xxHash64 of the content. A damaged file, or one of an unknown version, is set aside and counted.

    lock            held by the agent that uses the directory
    last_values     last values of gauges, see agent/aggregate/last_values.py
    <name>.damaged  the last file of that name that could not be used

Does not know the content of the files. For one thread at once.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from xxhash import xxh64_intdigest

from agent.runtime.dir_lock import DirLock
from agent.runtime.replace_file import replace_file

#: Header of a file: mark, version of the content, length and xxHash64 of the content.
_HEAD: Final = struct.Struct("<7sBQQ")
_MARK: Final = b"MHstate"
#: A larger file was not written by an agent.
MAX_BYTES: Final = 1 << 30


class StateDirError(OSError):
    """The directory cannot be used; the text is shown to the user."""


class StateDir:
    """The directory at `path`, created if missing; waits up to `wait_s` for another agent to release it.

    Raises StateDirError.
    """

    def __init__(self, path: str, wait_s: float = 0.0) -> None:
        self.path = Path(path)
        #: Files that were set aside.
        self.damaged = 0
        try:
            self._lock = DirLock(self.path, wait_s)
        except OSError as e:
            raise StateDirError(f"agent.state_dir = {path!r}: {e.strerror or e}") from None

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def read(self, name: str, version: int) -> bytes | None:
        """Return the content of a file; None if it does not exist, or was damaged and is now set aside.

        Raises OSError if it exists and cannot be read.
        """
        path = self.path / name
        try:
            data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
        except FileNotFoundError:
            return None
        content = data[_HEAD.size :]
        if data[: _HEAD.size] != _head(version, content):
            self._set_aside(path)
            return None
        return content

    def _set_aside(self, path: Path) -> None:
        path.replace(path.with_name(f"{path.name}.damaged"))
        self.damaged += 1

    def write(self, name: str, version: int, content: bytes) -> None:
        """Replace a file atomically: after a crash the old or the new one exists. Raises OSError."""
        replace_file(self.path / name, _head(version, content), content)


def _head(version: int, content: bytes) -> bytes:
    return _HEAD.pack(_MARK, version, len(content), xxh64_intdigest(content))
