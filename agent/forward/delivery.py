"""Sends frames over one connection: bundled where the indexer supports it, else one by one.

Owns when bundles are used. An answer to the bundle as a whole (400, 413: not a bundle, too large) never
completes a frame: its frames are then sent one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Final

from agent.forward.channel import FINAL, Answer, Channel, Outcome, judge
from agent.forward.one_indexer import OneIndexer
from agent.forward.spool.record import EncodedFrame
from agent.wire import bundle
from agent.wire.release import Release

#: Frames of one request, and their bytes without the last; the indexer accepts more.
MAX_FRAMES: Final = 16
MAX_BYTES: Final = 1 << 20
#: How long frames are sent one by one after an indexer refused a bundle.
_SINGLES_S: Final = 300.0
#: Requests of one try that may meet other indexers, each over another connection.
_MAX_REQUESTS: Final = 4
_MISDIRECTED: Final = Answer(Outcome.MISDIRECTED, 421, sent=False)


class Delivery:
    """Sends frames over a connection of its own. For one thread.

    `release_of`: how often a frame was released from other indexers; the same for all frames of a try.
    `one`: the indexer to keep to, where the URL may lead to several.
    """

    def __init__(
        self,
        channel: Channel,
        release_of: Callable[[EncodedFrame], Release] = lambda _: Release(),
        one: OneIndexer | None = None,
    ) -> None:
        self._channel = channel
        self._release_of = release_of
        self._one = one
        self._indexer = ""  # the name that the latest answer told
        self._singles_until_s = 0.0  # time.monotonic()

    @property
    def max_frames(self) -> int:
        """Maximum number of frames that one try may have now."""
        return MAX_FRAMES if time.monotonic() >= self._singles_until_s else 1

    def send(self, frames: Sequence[EncodedFrame]) -> list[Answer]:
        """Try once to send frames; return an answer for each."""
        if self._one is None:
            return self._try(frames, self._release_of(frames[0]).headers())
        return self._to_one(self._one, frames)

    def _to_one(self, one: OneIndexer, frames: Sequence[EncodedFrame]) -> list[Answer]:
        """Send frames to the indexer to keep to, those with the same headers together."""
        answers: list[Answer] = []
        refusals = 0
        while left := frames[len(answers) :]:
            headers = one.headers(left[0])
            if headers is None or refusals == _MAX_REQUESTS:
                answers.append(_MISDIRECTED)
                continue
            alike = _alike(one, left, headers)
            found = self._try(alike, headers)
            taken = list(takewhile(lambda answer: answer.outcome is not Outcome.MISDIRECTED, found))
            for frame, answer in zip(alike, found, strict=True):
                if answer.outcome in FINAL:
                    one.done(frame)
                elif answer.sent:
                    one.sent(frame)
            answers += taken
            refused = len(taken) < len(alike)
            if not one.heard(self._indexer, refused=refused) and refused:
                self._channel.close()  # another connection may lead to the one
            refusals += refused
        return answers

    def _try(self, frames: Sequence[EncodedFrame], headers: Mapping[str, str]) -> list[Answer]:
        if len(frames) > 1:
            answers = self._bundled(frames, headers)
            if answers is not None:
                return answers
            self._singles_until_s = time.monotonic() + _SINGLES_S
        return self._one_by_one(frames, headers)

    def _bundled(self, frames: Sequence[EncodedFrame], headers: Mapping[str, str]) -> list[Answer] | None:
        """Send a bundle; return None if the indexer does not accept it as one."""
        body = bundle.encode([frame.data for frame in frames])
        answer = self._channel.send(body, bundle.PATH, bundle.CONTENT_TYPE, headers)
        self._indexer = answer.indexer
        if answer.status in (400, 404, 405, 413, 415):
            return None
        if answer.outcome is not Outcome.ACCEPTED:
            return [answer] * len(frames)
        try:
            found = bundle.decode_answers(answer.text.encode(errors="surrogateescape"), len(frames))
        except bundle.BundleError:
            return None  # a server that answers 200 to everything
        return [judge(one.status, one.error, max(one.retry_after, 0.0), one.expired) for one in found]

    def _one_by_one(self, frames: Sequence[EncodedFrame], headers: Mapping[str, str]) -> list[Answer]:
        """Send each frame alone until a try fails: later frames share that answer, untried."""
        answers: list[Answer] = []
        for frame in frames:
            answers.append(self._channel.send(frame.data, headers=headers))
            self._indexer = answers[-1].indexer
            if answers[-1].outcome not in FINAL:
                break
        return answers + answers[-1:] * (len(frames) - len(answers))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


def _alike(one: OneIndexer, frames: Sequence[EncodedFrame], headers: Mapping[str, str]) -> list[EncodedFrame]:
    """Return the first frames that go with these headers."""
    return list(takewhile(lambda frame: one.headers(frame) == headers, frames))
