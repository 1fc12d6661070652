"""The headers of a request with released frames: those that an operator took from another indexer. Pure.

Owns both headers (docs/wire-format.md). Requests without them have frames that were never sent elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from agent.wire.frame import FrameError

#: How often the frames were released from one indexer to the next.
HOP_HEADER: Final = "Meterhouse-Hop"
#: "1": the operator says that the journals of the earlier indexers are lost.
JOURNAL_LOST_HEADER: Final = "Meterhouse-Journal-Lost"
#: A frame is released at most this often.
MAX_HOP: Final = 9


class Release(msgspec.Struct, frozen=True):
    """How often frames were released, and whether the journals of their earlier indexers are lost."""

    hop: int = 0
    journal_lost: bool = False

    def headers(self) -> dict[str, str]:
        """Return the headers of a request with such frames."""
        if not self.hop:
            return {}
        return {HOP_HEADER: str(self.hop)} | ({JOURNAL_LOST_HEADER: "1"} if self.journal_lost else {})


def release_of(headers: Mapping[str, str]) -> Release:
    """Return the release of a request's frames. Raises FrameError for another hop than 0 to MAX_HOP."""
    hop = headers.get(HOP_HEADER, "0")
    if len(hop) != 1 or not "0" <= hop <= str(MAX_HOP):
        raise FrameError(f"{HOP_HEADER}: {hop[:20]!r}: expected a number from 0 to {MAX_HOP}")
    return Release(int(hop), headers.get(JOURNAL_LOST_HEADER) == "1")
