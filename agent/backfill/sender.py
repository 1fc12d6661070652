"""Sends frames in order over one connection until each has a final answer, by the agent's rules.

One request at once, so that live agents take turns in between. Requests are kept shorter than `MAX_REQUEST_S`
where one frame allows it, so that a live frame waits for one batch of old rows.

A postponed frame (503, 429) or an indexer that does not answer is retried without limit, with backoff, and
not before Retry-After.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from agent.forward.channel import FINAL, Answer, Outcome, failure_text
from agent.forward.circuit_breaker import CircuitBreaker
from agent.forward.delivery import MAX_FRAMES
from agent.forward.spool.record import EncodedFrame
from agent.settings import ForwardSettings

#: A longer request is followed by one of half as many frames; after a shorter one the next has one more.
MAX_REQUEST_S: Final = 0.2
_FIRST_FRAMES: Final = 2


class Delivers(Protocol):
    """The interface of agent/forward/delivery.py."""

    @property
    def max_frames(self) -> int:
        """Maximum number of frames per try."""

    def send(self, frames: Sequence[EncodedFrame]) -> list[Answer]:
        """Try once to send frames; return an answer for each."""


class OrderedSender:
    """Waits with `sleep`; reports a failed try to `problem`, once until the text changes."""

    def __init__(
        self,
        settings: ForwardSettings,
        delivery: Delivers,
        problem: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._delivery = delivery
        self._problem = problem
        self._sleep = sleep
        self._clock_s = clock_s
        self._frames = _FIRST_FRAMES  # of one request
        self._circuit = CircuitBreaker(settings.backoff_s, settings.max_backoff_s, rng or random.Random())  # noqa: S311
        self._told = ""

    def send(self, frames: Sequence[EncodedFrame]) -> list[Answer]:
        """Send frames until each has a final answer; return the answers in their order."""
        final: dict[int, Answer] = {}
        while left := [at for at in range(len(frames)) if at not in final]:
            tried = left[: min(self._delivery.max_frames, self._frames)]
            began_s = self._clock_s()
            answers = self._delivery.send([frames[at] for at in tried])
            if any(answer.outcome in FINAL for answer in answers):
                self._pace(len(tried), self._clock_s() - began_s)
            final.update((at, a) for at, a in zip(tried, answers, strict=True) if a.outcome in FINAL)
            self._rest(answers)
        return [final[at] for at in range(len(frames))]

    def _pace(self, frames: int, took_s: float) -> None:
        """Decide how many frames the next request has."""
        if took_s > MAX_REQUEST_S:
            self._frames = max(frames // 2, 1)
        elif frames == self._frames:
            self._frames = min(frames + 1, MAX_FRAMES)

    def _rest(self, answers: Sequence[Answer]) -> None:
        """Wait before the next try, if a frame was not accepted."""
        failed = [answer for answer in answers if answer.outcome not in FINAL]
        if len(failed) < len(answers):
            self._circuit.succeeded()
        if not failed:
            self._told = ""
            return
        self._tell(failed[0])
        after_s = max(answer.retry_after_s for answer in failed)
        self._circuit.begin()
        self._circuit.failed(now_s := time.monotonic(), after_s)
        self._sleep(self._circuit.wait_s(now_s))

    def _tell(self, answer: Answer) -> None:
        words = failure_text(answer, self._settings)
        if words != self._told:
            self._told = words
            self._problem(f"{words}{': ' + answer.text[:200] if answer.text else ''}")


def expired_rows(answer: Answer) -> int:
    """Return how many rows an indexer left out as older than their retention."""
    if answer.outcome is not Outcome.ACCEPTED:
        return 0
    if answer.expired:
        return answer.expired
    try:
        return msgspec.json.decode(answer.text, type=_Single).expired
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0


class _Single(msgspec.Struct):
    """The body of an answer to a single frame."""

    expired: int = 0
