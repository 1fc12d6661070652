"""The errors of a frame that the journal knows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from indexer.clickhouse.faults import Fault, public_text
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_state import BatchState
from indexer.write.errors import Conflict, Refused, TooOld, Unavailable, WriteError

#: When to send a frame again whose batch is set aside.
ASIDE_WAIT_S: Final = 15

_REFUSED: Final[Mapping[BatchState, str]] = {
    BatchState.ENDED: public_text(Fault.BYTES),
    BatchState.DROPPED: "this frame was set aside, and dropped by the operator",
}


def check_digest(unit: AcceptedFrame, known: bytes) -> None:
    """Raise Conflict if the identity is known to have come with other bytes before."""
    if known and unit.digest and known != unit.digest:
        raise Conflict(f"{unit.identity[:200]}: other bytes were taken under this identity before")


def unstored_error(state: BatchState) -> WriteError:
    """Return the error of a frame whose batch is in a state other than DONE."""
    match state:
        case BatchState.OPEN:
            return Unavailable("its batch is unfinished", retry_after_s=5)
        case BatchState.ASIDE:
            return Unavailable("its batch is set aside and tried again", retry_after_s=ASIDE_WAIT_S)
        case BatchState.TOO_OLD | BatchState.TOO_OLD_GONE:
            return TooOld(again=True)
        case _:
            return Refused(_REFUSED[state])
