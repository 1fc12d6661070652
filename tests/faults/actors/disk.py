"""A disk of a few MiB that can be filled: a tmpfs, if the process may mount one."""

from __future__ import annotations

import errno
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Final

_MIB: Final = 8
#: How soon room that a process gives back is filled, too.
_AGAIN_S: Final = 0.01


class SmallDisk:
    """A directory; after `mount` it is on a disk of its own if `small` is true, else on the disk it is on."""

    def __init__(self, path: Path) -> None:
        self.path, self.small = path, False
        self._filler = path / "filler"
        self._given_back = threading.Event()
        self._thread: threading.Thread | None = None

    def mount(self) -> None:
        """Make the directory, and mount the disk if that is allowed."""
        self.path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={_MIB}m,mode=700", "meterhouse", str(self.path)]
        self.small = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def unmount(self) -> None:
        """Take the disk away; keep its content next to it, for a person to look at."""
        if self.small:
            self.empty()
            shutil.copytree(self.path, self.path.with_suffix(".kept"))
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)
            self.small = False

    def fill(self) -> None:
        """Leave no room until it is given back. Nothing but a disk of its own is filled."""
        assert self.small
        self._fill()
        self._given_back.clear()
        self._thread = threading.Thread(target=self._keep_full, name="small-disk", daemon=True)
        self._thread.start()

    def empty(self) -> None:
        """Give the room back."""
        self._given_back.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._filler.unlink(missing_ok=True)

    def _fill(self) -> None:
        try:
            with self._filler.open("ab", buffering=0) as file:
                while file.write(bytes(4_096)):
                    pass
        except OSError as e:
            if e.errno != errno.ENOSPC:
                raise

    def _keep_full(self) -> None:
        """Fill what is freed: the spool deletes a file when all its frames are sent."""
        while not self._given_back.wait(_AGAIN_S):
            self._fill()
