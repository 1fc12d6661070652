"""The words that start this program again, for commands that are printed and pasted into a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """Return the words that start this program again when they are pasted into a shell."""
    called = Path(sys.argv[0])
    path = os.path.abspath(called)  # noqa: PTH100 - links stay: that of .venv finds the packages
    if called.suffix == ".py" or not os.access(path, os.X_OK):
        return shlex.join((sys.executable, path))
    found = shutil.which(called.name)
    return called.name if found and os.path.realpath(found) == os.path.realpath(path) else shlex.quote(path)
