"""Processes whose wall clock can be stepped while they run, by Debian's libfaketime; monotonic ones stay."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

_LIBRARY: Final = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def has_faketime() -> bool:
    """Return whether libfaketime is installed."""
    return _LIBRARY is not None


class FakeTime:
    """A clock in a file; `environ` is for the processes that read it."""

    def __init__(self, folder: Path, offset_s: int = 0) -> None:
        if _LIBRARY is None:
            pytest.skip("libfaketime is not installed: apt-get install faketime")
        self._file = folder / "faketime"
        self.step_to(offset_s)
        self.environ = {
            "LD_PRELOAD": str(_LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def step_to(self, offset_s: int) -> None:
        """Let the clock go wrong by so much, from now on."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{offset_s:+d}\n")
        beside.replace(self._file)
