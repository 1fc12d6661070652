"""Sends frames over one connection: bundled where the indexer supports it, else one by one.

Owns when bundles are used. An answer to the bundle as a whole (400, 413: not a bundle, too large) never
completes a frame: its frames are then sent one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from agent.forward.channel import FINAL, Answer, Channel, Outcome, judge
from agent.forward.spool.record import EncodedFrame
from agent.wire import bundle
from agent.wire.release import Release

#: Frames of one request, and their bytes without the last; the indexer accepts more.
MAX_FRAMES: Final = 16
MAX_BYTES: Final = 1 << 20
#: How long frames are sent one by one after an indexer refused a bundle.
_SINGLES_S: Final = 300.0


class Delivery:
    """Sends frames over a connection of its own. For one thread.

    `release_of`: how often a frame was released from other indexers; the same for all frames of a try.
    """

    def __init__(
        self, channel: Channel, release_of: Callable[[EncodedFrame], Release] = lambda _: Release()
    ) -> None:
        self._channel = channel
        self._release_of = release_of
        self._singles_until_s = 0.0  # time.monotonic()

    @property
    def max_frames(self) -> int:
        """Maximum number of frames that one try may have now."""
        return MAX_FRAMES if time.monotonic() >= self._singles_until_s else 1

    def send(self, frames: Sequence[EncodedFrame]) -> list[Answer]:
        """Try once to send frames; return an answer for each."""
        if len(frames) > 1:
            answers = self._bundled(frames)
            if answers is not None:
                return answers
            self._singles_until_s = time.monotonic() + _SINGLES_S
        return self._one_by_one(frames)

    def _bundled(self, frames: Sequence[EncodedFrame]) -> list[Answer] | None:
        """Send a bundle; return None if the indexer does not accept it as one."""
        body = bundle.encode([frame.data for frame in frames])
        headers = self._release_of(frames[0]).headers()
        answer = self._channel.send(body, bundle.PATH, bundle.CONTENT_TYPE, headers)
        if answer.status in (400, 404, 405, 413, 415):
            return None
        if answer.outcome is not Outcome.ACCEPTED:
            return [answer] * len(frames)
        try:
            found = bundle.decode_answers(answer.text.encode(errors="surrogateescape"), len(frames))
        except bundle.BundleError:
            return None  # a server that answers 200 to everything
        return [judge(one.status, one.error, max(one.retry_after, 0.0), one.expired) for one in found]

    def _one_by_one(self, frames: Sequence[EncodedFrame]) -> list[Answer]:
        """Send each frame alone until a try fails: later frames share that answer, untried."""
        answers: list[Answer] = []
        for frame in frames:
            answers.append(self._channel.send(frame.data, headers=self._release_of(frame).headers()))
            if answers[-1].outcome not in FINAL:
                break
        return answers + answers[-1:] * (len(frames) - len(answers))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
