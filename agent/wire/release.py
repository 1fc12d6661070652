"""The headers of a request with released frames: those that an operator took from another indexer. Pure.

Owns the headers (docs/wire-format.md). Requests without them have frames that were never sent elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from agent.wire.frame import FrameError

#: How often the frames were released from one indexer to the next.
HOP_HEADER: Final = "Meterhouse-Hop"
#: "1": the operator says that the journals of all earlier indexers are lost.
JOURNAL_LOST_HEADER: Final = "Meterhouse-Journal-Lost"
#: The hops of the indexers whose journals are lost, with commas; it goes before the other one.
LOST_HOPS_HEADER: Final = "Meterhouse-Lost-Hops"
#: A frame is released at most this often.
MAX_HOP: Final = 9


class Release(msgspec.Struct, frozen=True):
    """How often frames were released. `lost_hops`: a bit for each earlier hop whose journal is lost."""

    hop: int = 0
    lost_hops: int = 0

    def headers(self) -> dict[str, str]:
        """Return the headers of a request with such frames."""
        if not self.hop:
            return {}
        headers = {HOP_HEADER: str(self.hop)}
        if self.lost_hops:
            lost = [str(hop) for hop in range(self.hop) if self.lost_hops >> hop & 1]
            headers[LOST_HOPS_HEADER] = ",".join(lost)
        if self.lost_hops == earlier_hops(self.hop):  # older indexers know no other case
            headers[JOURNAL_LOST_HEADER] = "1"
        return headers


def earlier_hops(hop: int) -> int:
    """Return a bit for each hop before `hop`."""
    return (1 << hop) - 1


def release_of(headers: Mapping[str, str]) -> Release:
    """Return the release of a request's frames. Raises FrameError for hops other than 0 to MAX_HOP."""
    hop = _hop(HOP_HEADER, headers.get(HOP_HEADER, "0"))
    if LOST_HOPS_HEADER not in headers:
        return Release(hop, earlier_hops(hop) if headers.get(JOURNAL_LOST_HEADER) == "1" else 0)
    texts = headers[LOST_HOPS_HEADER].split(",", MAX_HOP + 1)
    lost = {_hop(LOST_HOPS_HEADER, text.strip()) for text in texts}
    return Release(hop, sum(1 << one for one in lost) & earlier_hops(hop))


def _hop(header: str, text: str) -> int:
    if len(text) != 1 or not "0" <= text <= str(MAX_HOP):
        raise FrameError(f"{header}: {text[:20]!r}: expected a number from 0 to {MAX_HOP}")
    return int(text)
