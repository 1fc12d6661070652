"""The frames that a writer has taken, and the futures that their senders wait for. For one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import WriteError


@dataclass(slots=True)
class WaitingFrame:
    """A frame that is being written: its digest, its waiter, and since when (monotonic)."""

    org_id: int
    digest: bytes
    future: asyncio.Future[None]
    since_s: float


class WaitingFrames:
    """Frames by identity."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._frames: dict[str, WaitingFrame] = {}

    def __contains__(self, identity: str) -> bool:
        return identity in self._frames

    def get(self, identity: str) -> WaitingFrame | None:
        """Return the frame of an identity."""
        return self._frames.get(identity)

    def oldest_s(self, held: Set[int] = frozenset()) -> float:
        """Return how long the oldest one has waited; 0 for none.

        Frames of the orgs `held` begin to wait anew: nothing is wrong with the writer.
        """
        now_s = self._clock_s()
        for frame in self._frames.values() if held else ():
            if frame.org_id in held:
                frame.since_s = now_s
        return now_s - min((frame.since_s for frame in self._frames.values()), default=now_s)

    def add(self, unit: AcceptedFrame) -> asyncio.Future[None]:
        """Note a frame; return the future that its senders wait for."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._frames[unit.identity] = WaitingFrame(unit.frame.org_id, unit.digest, future, self._clock_s())
        return future

    def end(self, units: Sequence[AcceptedFrame], errors: Mapping[str, WriteError | None]) -> None:
        """Tell the senders of frames that these are stored, or why not."""
        for unit in units:
            _end(self._frames.pop(unit.identity).future, errors.get(unit.identity))

    def end_all(self, error: WriteError) -> None:
        """Tell the senders of all frames why these are not stored."""
        for frame in self._frames.values():
            _end(frame.future, error)


def _end(future: asyncio.Future[None], error: WriteError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # there may be no waiter any more
