"""The states of the journal's batches, and the facts about kept ones. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple


class BatchState(IntEnum):
    """The state of a batch; numbers are stored."""

    OPEN = 0
    DONE = 1
    ASIDE = 2  # tried again from time to time; its senders are answered 503
    ENDED = 3  # refused for the bytes of its frame; its sender was answered 400
    DROPPED = 4  # a person gave it up; its senders are answered 400
    TOO_OLD = 5  # perhaps stored and forgotten; its senders are answered 409
    TOO_OLD_GONE = 6  # the same, its bytes dropped for room


#: States of batches whose bytes are kept for the operator.
KEPT: Final = (BatchState.ASIDE, BatchState.ENDED, BatchState.TOO_OLD)


class KeptBatch(NamedTuple):
    """A batch in one of the states KEPT. `since_ms`: when that happened, or when it was begun."""

    token: str
    state: BatchState
    frames: int
    bytes: int
    since_ms: int
    reason: str
