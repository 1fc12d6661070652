"""Sends heartbeats: one per bucket, once all frames of earlier buckets are settled.

Owns when a heartbeat is sent. It states that buckets up to a time are stored, so it follows the answer to the
last frame with rows of them. While frames wait, heartbeats continue and repeat the earlier time. It has a
thread and a connection of its own: heartbeats and frames never delay each other.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

import msgspec

from agent.forward.channel import Channel, Outcome
from agent.forward.credentials import Credentials
from agent.forward.current_channel import OpenChannel, SendsBodies
from agent.forward.spool.spool import Spool
from agent.runtime.clock import Clock
from agent.runtime.logs import Log
from agent.runtime.program_version import program_version
from agent.settings import ForwardSettings
from agent.wire.frame import BUCKET_SECONDS, Sender
from agent.wire.heartbeat import CONTENT_TYPE, PATH, Heartbeat, encode, read_answer

#: Interval between heartbeats without news.
_PERIOD_S: Final = BUCKET_SECONDS * 1.2
#: Many agents flush at the same moment: each waits a random time up to this.
_JITTER_S: Final = 0.1
#: Backoff after the first failure, doubled with each further one.
_BACKOFF_S: Final = 0.5
_TIMEOUT_S: Final = 2.0
_WAIT_S: Final = 0.25  # how often a wait for frames checks whether the agent stops


class AnswerHandlers(msgspec.Struct, frozen=True):
    """Receivers of the facts in answers; called in the thread of heartbeats."""

    #: Measures the indexer's time.
    clock: Clock = msgspec.field(default_factory=Clock)
    #: Called when that changed our time.
    retimed: Callable[[], None] = lambda: None
    #: Opens the channel instead of Channel, where there are several indexers.
    open_channel: OpenChannel | None = None
    #: Called with the seconds for which the indexer recognises stored frames; 0 from older indexers.
    remembers: Callable[[int], None] = lambda _: None


class LineCounts(msgspec.Struct, frozen=True):
    """Lines since the agent's start, and the refused ones by reason."""

    lines: int
    refused: dict[str, int]


class HeartbeatSender:
    """Sends heartbeats in a thread. Counters are plain numbers for agent/telemetry/metrics.py."""

    def __init__(
        self,
        settings: ForwardSettings,
        sender: Sender,
        spool: Spool,
        started_ms: int,
        log: Log,
        credentials: Credentials | None = None,
        *,
        handlers: AnswerHandlers | None = None,
        counts: Callable[[], LineCounts | None] = lambda: None,
    ) -> None:
        self._counts = counts
        self._version = program_version()[:40]
        self.sent = 0
        self._handlers = handlers or AnswerHandlers()
        self._clock = self._handlers.clock
        self.failed: Counter[Outcome] = Counter()
        limited = msgspec.structs.replace(settings, timeout_s=min(settings.timeout_s, _TIMEOUT_S))
        opened = self._handlers.open_channel or Channel
        self._channel: SendsBodies = opened(limited, PATH, CONTENT_TYPE, credentials)
        self._many = bool(settings.urls)
        self._sender = sender
        self._spool = spool
        self._log = log
        self._rng = random.Random()  # noqa: S311
        self._changed = threading.Condition()
        self._marks = deque[
            tuple[int, int]
        ]()  # (flushed until ms, last frame with rows of that) not over yet
        self._made = self._over = 0  # frame numbers
        self._stopping = False
        self._stored_ms = started_ms
        self._due_s = 0.0  # time.monotonic() of the next heartbeat without news: the first one at once
        self._restarts = 0
        self._failures = 0  # in a row
        self._thread = threading.Thread(target=self._run, name="heartbeats", daemon=True)

    def start(self) -> None:
        """Start the thread; its first heartbeat announces the agent."""
        self._thread.start()

    def flushed(self, until_ms: int, last_frame: int) -> None:
        """Record that rows of buckets that ended by `until_ms` are in frames up to number `last_frame`."""
        with self._changed:
            self._made = last_frame
            self._marks.append((until_ms, last_frame))
            self._changed.notify_all()

    def restart(self, until_ms: int) -> None:
        """Forget flushes after `until_ms`: the clock jumped. Sends a heartbeat at once."""
        with self._changed:
            self._marks.clear()
            self._stored_ms = min(self._stored_ms, until_ms)
            self._restarts += 1
            self._due_s = 0.0
            self._changed.notify_all()

    def stop(self) -> None:
        """End the thread and announce the agent's end; to be called when no more frames are sent."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(2 * _TIMEOUT_S)
        if not self._thread.is_alive():  # otherwise the thread still uses the connection
            self._advance()
            self._send(ended=True)
            self._channel.close()

    def _run(self) -> None:
        while not self._stopping:
            news = self._wait()
            if self._stopping:
                return
            if news:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, self._rng.uniform(0.0, _JITTER_S))
            if news or time.monotonic() >= self._due_s:
                self._send()

    def _wait(self) -> bool:
        """Wait until more buckets are stored (True), or a heartbeat is due or time has passed (False)."""
        left_s = self._due_s - time.monotonic()
        if left_s <= 0:
            return self._advance()
        with self._changed:
            if not self._marks:
                self._changed.wait_for(lambda: self._marks or self._stopping, left_s)
            if not self._marks or self._stopping:
                return False
            _, last_frame = self._marks[0]
        return self._spool.wait_over(last_frame, min(left_s, _WAIT_S)) and self._advance()

    def _advance(self) -> bool:
        """Remove the marks whose frames are settled; return whether there were any."""
        before = self._stored_ms
        with self._changed:
            while self._marks and self._spool.wait_over(self._marks[0][1], 0):
                until_ms, self._over = self._marks.popleft()
                self._stored_ms = max(self._stored_ms, until_ms)
        return self._stored_ms > before

    def _send(self, *, ended: bool = False) -> None:
        with self._changed:
            restarts = self._restarts
        sent_ms = self._clock.machine_ms()
        counts = self._counts()
        beat = Heartbeat(
            agent=self._sender.agent,
            epoch=self._sender.epoch,
            org_id=self._sender.org_id,
            project_id=self._sender.project_id,
            flushed_until_ms=self._stored_ms,
            ended=ended,
            sent_ms=sent_ms,
            frames_made=self._made,
            frames_over=None if self._many else self._over,  # no indexer sees all frames
            lines=counts.lines if counts else None,
            refused_lines=counts.refused if counts else {},
            unsent_bytes=self._spool.unsent_bytes,
            version=self._version,
        )
        answer = self._channel.send(encode(beat))
        if answer.outcome is Outcome.ACCEPTED:
            told = read_answer(answer.text)
            if self._clock.measured(sent_ms, self._clock.machine_ms(), told.now_ms) and not ended:
                self._handlers.retimed()
            if not ended:
                self._handlers.remembers(told.remembers_s)
            self.sent += 1
            self._failures = 0
            self._rest(_PERIOD_S, restarts)
            return
        self.failed[answer.outcome] += 1
        ceiling_s = min(_PERIOD_S, _BACKOFF_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._rest(self._rng.uniform(ceiling_s / 2, ceiling_s), restarts)
        self._log.throttled(
            "heartbeat_failed", outcome=answer.outcome.value, status=answer.status, text=answer.text[:200]
        )

    def _rest(self, seconds: float, restarts: int) -> None:
        """Delay the next heartbeat without news, unless the clock jumped since the last one was made."""
        with self._changed:
            if restarts == self._restarts:
                self._due_s = time.monotonic() + seconds
