"""The state file of a backfill: the file, its start time, and the last chunk the indexer has answered.

It is replaced as a whole after each request. Identities do not depend on it: without it a run sends
everything again, under the same identities, and the indexer counts nothing twice while it remembers them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from agent.runtime.replace_file import replace_file

#: Files of version 1 have no epoch, and are of the first one.
_VERSION: Final = 2
_MAX_BYTES: Final = 1 << 20


class ProgressError(ValueError):
    """A state file that cannot be used; the text is shown to the user."""


class Progress(msgspec.Struct, kw_only=True):
    """The progress of sending a file. `created_ms`, of all its frames, is the start of the first run."""

    version: int = _VERSION
    sha256: str
    created_ms: int
    #: A hash of all settings that determine the bytes of frames.
    settings: str
    #: The indexer's URL.
    url: str
    #: How the file is cut (agent/backfill/job.py).
    epoch: int = 1
    #: Chunks up to this number have final answers.
    chunks: int = 0
    finished: bool = False
    #: Of answered frames: totals over all runs.
    frames: int = 0
    rows: int = 0
    lines: int = 0
    expired_rows: int = 0
    refused_lines: int = 0
    conflict_lines: int = 0


def load(path: Path) -> Progress | None:
    """Read a state file; None if there is none. Raises ProgressError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise ProgressError(f"{path}: {e.strerror}: expected a readable state file") from None
    try:
        progress = msgspec.json.decode(data, type=Progress)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ProgressError(f"{path}: not the state of a backfill ({e}): expected one, or no file") from None
    if not 1 <= progress.version <= _VERSION:
        raise ProgressError(f"{path}: version {progress.version}: expected {_VERSION} at most")
    return progress


def save(path: Path, progress: Progress) -> None:
    """Replace a state file atomically: after a crash the old or the new one exists. Raises OSError."""
    replace_file(path, msgspec.json.format(msgspec.json.encode(progress)), b"\n")
