"""Sends the spool's frames to the indexer, in threads, and retries until each is acknowledged.

Owns the delivery rules: agent/forward/channel.py tells which answers complete a frame; otherwise the same
bytes are sent again. A thread has one connection, and a try has several frames where the indexer supports
bundles. Live frames go before the backlog, which comes first in every BACKLOG_TURN-th try.

* A frame that is postponed (503, 429) while others are accepted rests at least as long as Retry-After says.
* A connection that fails while another gets answers waits alone, longer with each failure of its own.
* If no connection gets an answer, all wait: a growing backoff with jitter, at least Retry-After. Then
  a single try probes, and only its success lets the others continue. A dead indexer is therefore asked rarely
  by each agent, and not by all agents at the same moment.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from agent.forward.channel import FINAL, Answer, Channel, Outcome, failure_text
from agent.forward.circuit_breaker import CircuitBreaker
from agent.forward.credentials import Credentials
from agent.forward.delivery import MAX_BYTES, Delivery
from agent.forward.one_indexer import OneIndexer
from agent.forward.sending import target_label
from agent.forward.spool.record import EncodedFrame
from agent.runtime.logs import Log
from agent.settings import ForwardSettings
from agent.wire.release import Release

#: Pause between tries at a dead indexer while draining.
_DRAIN_BACKOFF_S: Final = 0.5
#: Every try of this number takes frames of the backlog first.
BACKLOG_TURN: Final = 4


class FrameSource(Protocol):
    """The frames to send, with the methods of Spool."""

    @property
    def on_disk(self) -> bool:
        """Whether frames survive the agent."""

    def wait_any(self) -> bool:
        """Wait until a frame waits; return False if all is over."""

    def take_many(
        self, max_frames: int, max_bytes: int, takers: int, *, live_first: bool
    ) -> list[EncodedFrame]:
        """Return some waiting frames, for `takers` in parallel."""

    def done(self, frame: EncodedFrame) -> None:
        """Complete a frame that was taken."""

    def again(
        self, frame: EncodedFrame, rest_s: float = 0.0, *, sent: bool = True, postponed: bool = False
    ) -> None:
        """Return a frame for another try; `sent`: the indexer may have it; `postponed`: by its answer."""

    def hurry(self) -> None:
        """End all rests."""

    def wait_empty(self, timeout_s: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Return True when no frame is left, False on timeout or when to `give_up`."""

    def close(self) -> None:
        """Wake all `wait_any` calls."""


class Forwarder:
    """Runs `connections` threads over a spool. Counters are plain numbers for agent/telemetry/metrics.py."""

    def __init__(
        self,
        settings: ForwardSettings,
        spool: FrameSource,
        log: Log,
        rng: random.Random | None = None,
        credentials: Credentials | None = None,
        release_of: Callable[[EncodedFrame], Release] = lambda _: Release(),
        one: OneIndexer | None = None,
    ) -> None:
        self.sent_frames = 0
        self.sent_rows = 0
        self.sent_lines = 0
        self.sent_bytes = 0
        self.retries: Counter[Outcome] = Counter()
        self.dropped_frames: Counter[Outcome] = Counter()
        self.dropped_rows: Counter[Outcome] = Counter()
        self.dropped_lines: Counter[Outcome] = Counter()
        self.last_success_s = 0.0  # Unix time
        self.problem = ""  # text of the last failed try; empty while the indexer answers
        self._settings = settings
        self._spool = spool
        self._log = log
        self._lock = threading.Condition()
        self._rng = rng or random.Random()  # noqa: S311
        self._one = one
        self._circuit = CircuitBreaker(
            settings.backoff_s, settings.max_backoff_s, self._rng
        )  # of the indexer
        self._answered_s = 0.0  # time.monotonic() of the last answer that completed a frame
        self._tries = 0
        self._draining = False
        self._failed_draining = False
        self._stopped = False
        credentials = credentials or Credentials(settings, log)
        deliveries = [
            Delivery(Channel(settings, credentials=credentials), release_of, one)
            for _ in range(settings.connections)
        ]
        self._threads = [
            threading.Thread(target=self._work, args=(delivery,), name=f"forward-{i}", daemon=True)
            for i, delivery in enumerate(deliveries)
        ]

    @property
    def warning(self) -> str:
        """A fault of the settings that costs time alone, for operators; empty: none."""
        return self._one.warning if self._one is not None else ""

    @property
    def failures_in_a_row(self) -> int:
        """Consecutive failures; 0 while the indexer answers."""
        return self._circuit.failures

    def targets(self) -> Mapping[str, tuple[int, bool]]:
        """Return the one indexer, which gets all new frames."""
        return {target_label(self._settings.url): (0, True)}

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def drain(self, deadline_s: float) -> bool:
        """Send the remaining frames for at most `deadline_s`, then stop; return whether none is left.

        With a spool on disk the first failure ends it: the next run sends the rest.
        """
        self.begin_drain()
        empty = self._spool.wait_empty(deadline_s, lambda: self._spool.on_disk and self._failed_draining)
        self.end_drain()
        self._spool.close()
        if empty:
            self.join()
        return empty

    @property
    def failed_draining(self) -> bool:
        """Whether a try failed while draining, and no connection gets answers."""
        return self._failed_draining

    def begin_drain(self) -> None:
        """Send the remaining frames without long waits."""
        with self._lock:
            self._draining = True
            self._circuit.hurry(time.monotonic() + self._circuit.jitter_s(_DRAIN_BACKOFF_S))
            self._lock.notify_all()
        self._spool.hurry()

    def end_drain(self) -> None:
        """Begin no further tries."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def join(self) -> None:
        """Wait for the threads to end, once the spool is closed."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join(self._settings.timeout_s)

    def _work(self, delivery: Delivery) -> None:
        own = CircuitBreaker(self._settings.backoff_s, self._settings.max_backoff_s, self._rng)
        try:
            while self._wait_for_turn(own):
                frames = self._take(delivery)
                if not frames:
                    with self._lock:
                        self._circuit.abandoned()
                        self._lock.notify_all()
                    continue
                began_s = time.monotonic()
                self._settle(frames, delivery.send(frames), began_s, own)
        finally:
            delivery.close()

    def _take(self, delivery: Delivery) -> list[EncodedFrame]:
        """Take the frames of one try: live ones first, but the backlog first in every BACKLOG_TURN-th try."""
        with self._lock:
            self._tries += 1
            live_first = self._tries % BACKLOG_TURN != 0
        connections = self._settings.connections
        return self._spool.take_many(delivery.max_frames, MAX_BYTES, connections, live_first=live_first)

    def _wait_for_turn(self, own: CircuitBreaker) -> bool:
        """Wait for a frame and for permission to send it, and begin a try; return False when all is over."""
        while not self._stopped:
            if not self._spool.wait_any():
                return False
            with self._lock:
                now_s = time.monotonic()
                wait_s = max(self._circuit.wait_s(now_s), own.wait_s(now_s))
                if not wait_s:
                    self._circuit.begin()
                    return True
                self._lock.wait(wait_s)
        return False

    def _settle(
        self, frames: Sequence[EncodedFrame], answers: Sequence[Answer], began_s: float, own: CircuitBreaker
    ) -> None:
        """Count the answers of a try, decide which connections wait, and return the frames to the spool.

        A try without any answer is the connection's own failure if another connection got answers since the
        try began; otherwise it is the indexer's, and all wait.
        """
        failed = next((answer for answer in answers if answer.outcome not in FINAL), None)
        with self._lock:
            now_s = time.monotonic()
            others = failed is not None and failed.outcome is Outcome.MISDIRECTED
            alive = others or self._answered_s > began_s
            if any(answer.outcome in FINAL for answer in answers):
                if self._circuit.failures:
                    self._log.info("indexer_back", after_failures=self._circuit.failures)
                self._circuit.succeeded()
                own.succeeded()
                alive = True
                self._answered_s = now_s
            elif failed is not None:
                longest = _DRAIN_BACKOFF_S if self._draining else None
                (own if alive else self._circuit).failed(now_s, failed.retry_after_s, longest)
                self._failed_draining = self._draining and not alive
            self.problem = "" if failed is None else failure_text(failed, self._settings)
            for frame, answer in zip(frames, answers, strict=True):
                self._count(frame, answer)
            self._lock.notify_all()
        for frame, answer in zip(frames, answers, strict=True):
            if answer.outcome in FINAL:
                self._spool.done(frame)
            else:
                rest_s, busy = self._rest_s(answer) if alive else 0.0, answer.outcome is Outcome.BUSY
                self._spool.again(frame, rest_s, sent=answer.sent, postponed=busy)
        if self._one is not None:
            self._one.settled()
        self._tell(frames, answers)

    def _rest_s(self, answer: Answer) -> float:
        """Return how long a postponed frame rests while others are accepted."""
        if answer.outcome not in (Outcome.BUSY, Outcome.DENIED, Outcome.MISDIRECTED):
            return 0.0
        longest_s = _DRAIN_BACKOFF_S if self._draining else self._settings.max_backoff_s
        return min(max(answer.retry_after_s, self._settings.backoff_s), longest_s)

    def _count(self, frame: EncodedFrame, answer: Answer) -> None:
        if answer.outcome is Outcome.ACCEPTED:
            self.sent_frames += 1
            self.sent_rows += frame.rows
            self.sent_lines += frame.lines
            self.sent_bytes += len(frame.data)
            self.last_success_s = time.time()
        elif answer.outcome in FINAL:
            self.dropped_frames[answer.outcome] += 1
            self.dropped_rows[answer.outcome] += frame.rows
            self.dropped_lines[answer.outcome] += frame.lines
        else:
            self.retries[answer.outcome] += 1

    def _tell(self, frames: Sequence[EncodedFrame], answers: Sequence[Answer]) -> None:
        for frame, answer in zip(frames, answers, strict=True):
            if answer.outcome is not Outcome.ACCEPTED:
                self._log.throttled(
                    "frame_refused" if answer.outcome in FINAL else "send_failed",
                    frame=frame.identity,
                    rows=frame.rows,
                    outcome=answer.outcome.value,
                    status=answer.status,
                    text=answer.text[:200],
                    failures=self._circuit.failures,
                )
