"""Decides which of several indexers stores a frame that an operator released from another one.

A frame goes to one indexer. Where that one is gone, an operator releases the frame, and its agent sends it to
the next, with the number of releases so far: its hop. An indexer writes a claim of (frame, hop) before the
rows of the frame, and then looks for claims of other hops:

* A higher hop has a claim: this one withdraws, for good, and stores nothing of the frame.
* A lower hop has a claim and did not withdraw: its indexer may have stored a part. The frame waits for it,
  unless the operator says that its journal is lost.
* Else the frame is stored here, whatever comes later.

Of two hops each claims before it looks, so at least one sees the other, and at most one stores the frame.
docs/reliability.md has the argument. Claims are rows of the table of identities, under names of their own.
Sync: runs in threads.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

from agent.wire.release import MAX_HOP
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.identity import any_indexer
from indexer.write.stored_identities import IdentityBit, bit_of, is_remembered

_CLAIMED, _WITHDRAWN = "c", "w"
#: The sources of claims of released frames: those of hops from 1 to 9.
_RELEASED: Final = (f"{_CLAIMED}1", f"{_CLAIMED}:")

#: Masks of bits by source and block.
_Masks = Mapping[tuple[str, int], int]


class Verdict(enum.Enum):
    """Why a frame is not stored here, in words for its sender."""

    STORED = "another indexer has stored it"
    ELSEWHERE = "it was released, and another indexer has it"
    UNDECIDED = "another indexer may have stored a part of it: it waits for that one's journal"


class BitTable(Protocol):
    """Masks of bits by source and block, which every indexer sees once they are written."""

    def write(self, token: str, masks: _Masks) -> None:
        """Add bits. Raises StoreError."""

    def read(self, sources: Collection[str], first: int, last: int) -> _Masks:
        """Return the masks of sources in blocks from the first to the last. Raises StoreError."""

    def has_between(self, first: str, end: str) -> bool:
        """Return whether there is a source from `first` to before `end`. Raises StoreError."""


class FrameClaims:
    """Claims frames: `announce`, a wait until all replicas have that, and `verdicts`."""

    def __init__(self, table: BitTable) -> None:
        self._table = table

    def look(self, units: Sequence[AcceptedFrame]) -> dict[str, Verdict]:
        """Return the frames that cannot be stored here now, by identity, of those that others may have.

        These are released ones, and those of a backfill. Raises StoreError.
        """
        asked = [u for u in units if (u.hop or any_indexer(u.identity)) and is_remembered(u.identity)]
        return self._judged(asked, self._read(asked)) if asked else {}

    def announce(self, token: str, units: Sequence[AcceptedFrame]) -> None:
        """Write the claims of frames. Raises StoreError.

        The frames are in the journal, so that this can be repeated.
        """
        self._write(f"{token}/claims", _CLAIMED, units)

    def verdicts(self, token: str, units: Sequence[AcceptedFrame]) -> dict[str, Verdict]:
        """Return the frames that must not be stored here, once their claims are written. Raises StoreError.

        Those that are ELSEWHERE are withdrawn.
        """
        if not any(unit.hop for unit in units) and not self._table.has_between(*_RELEASED):
            return {}
        verdicts = self._judged(units, self._read(units))
        gone = [unit for unit in units if verdicts.get(unit.identity) is Verdict.ELSEWHERE]
        if gone:
            self._write(f"{token}/withdrawn", _WITHDRAWN, gone)
        return verdicts

    def _write(self, token: str, kind: str, units: Iterable[AcceptedFrame]) -> None:
        masks: Counter[tuple[str, int]] = Counter()
        for hop, (source, block, bit) in {(unit.hop, bit_of(unit.identity)) for unit in units}:
            masks[f"{kind}{hop}/{source}", block] += 1 << bit
        self._table.write(token, masks)

    def _read(self, units: Sequence[AcceptedFrame]) -> _Masks:
        """Return the claims and withdrawals of all hops, and the identities, of frames."""
        places = [bit_of(unit.identity) for unit in units]
        hops = [f"{kind}{hop}/" for kind in (_CLAIMED, _WITHDRAWN) for hop in range(MAX_HOP + 1)]
        wanted = {f"{hop}{place.source}" for place in places for hop in ("", *hops)}
        blocks = [place.block for place in places]
        return self._table.read(wanted, min(blocks), max(blocks))

    def _judged(self, units: Iterable[AcceptedFrame], masks: _Masks) -> dict[str, Verdict]:
        found = {unit.identity: _verdict(unit, bit_of(unit.identity), masks) for unit in units}
        return {identity: verdict for identity, verdict in found.items() if verdict is not None}


def _verdict(unit: AcceptedFrame, place: IdentityBit, masks: _Masks) -> Verdict | None:
    """Return why a frame is not stored here; None: it is."""

    def has(prefix: str) -> bool:
        return bool(masks.get((f"{prefix}{place.source}", place.block), 0) >> place.bit & 1)

    claimed = {hop for hop in range(MAX_HOP + 1) if has(f"{_CLAIMED}{hop}/")}
    if has(""):
        return Verdict.STORED
    if any(hop > unit.hop for hop in claimed):
        return Verdict.ELSEWHERE
    earlier = {hop for hop in claimed if hop < unit.hop and not unit.lost_hops >> hop & 1}
    return None if all(has(f"{_WITHDRAWN}{hop}/") for hop in earlier) else Verdict.UNDECIDED
