"""When buckets are flushed, and how flushed rows become frames in the spool.

* `delay_ms` after the end of each bucket; lines for older buckets at most `late_ms` after they arrived;
* everything at once when the core is full (it does so by itself), after a jump of the clock, and at the end.

Once the rows of a bucket are in frames, the heartbeat may report it. The exposition (agent/exposition) takes
each frame, too. Without an indexer nothing is put into the spool.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from agent.core.interface import Core
from agent.forward.heartbeat_sender import HeartbeatSender
from agent.forward.spool.record import EncodedFrame
from agent.forward.spool.spool import Spool
from agent.runtime.clock import Clock
from agent.runtime.logs import Log
from agent.runtime.loop import Loop
from agent.settings import AgentSettings
from agent.telemetry.metrics import MetricSources
from agent.wire.frame import BUCKET_SECONDS, Frame, Sender, encode
from agent.wire.restamp import restamped

#: Maximum batches read between two frames, when packets pile up.
_TURNS_PER_FRAME: Final = 16
_BUCKET_MS: Final = BUCKET_SECONDS * 1000
#: After a clock jump rows may belong to buckets that ended this long ago.
_BEFORE_JUMP_MS: Final = 6 * _BUCKET_MS


def whole_buckets(time_ms: int) -> int:
    """Return the end of the last bucket that ended by this time."""
    return time_ms // _BUCKET_MS * _BUCKET_MS


class FrameMaker:
    """Flushes the core and makes frames, in the thread of the loop.

    `sources` has the parts, and takes the counts. `flushed_ms`: buckets that ended by then are in frames.
    `backlog` says whether packets wait to be read.
    """

    def __init__(
        self,
        settings: AgentSettings,
        loop: Loop,
        sender: Sender,
        sources: MetricSources,
        flushed_ms: int,
        backlog: Callable[[], bool],
        log: Log,
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._sender = sender
        self._sources = sources
        self._core: Core = sources.core
        self._spool: Spool = sources.spool
        self._beats: HeartbeatSender = sources.beats
        self._clock: Clock = sources.clock
        self._exposition = sources.exposition
        self._sends = settings.forward.sends
        self._backlog = backlog
        self._log = log
        self._sequence = 1  # of the next frame
        # Buckets that ended by these times were flushed, and are in frames.
        self._flushed_ms = self._framed_ms = flushed_ms
        self._ahead_ms = 0  # how far rows now being framed are ahead, after the clock jumped back
        self._framing = False  # a call of _make_frames is scheduled
        self._turns = 0  # of the loop since the last frame

    def start(self) -> None:
        """Schedule the flushes."""
        self._flush_later()

    def finish(self) -> None:
        """Flush everything, and make all frames at once."""
        self.look_at_clock()
        now_ms = self._clock.now_ms()
        self.hand_over(self._core.flush_all(now_ms))
        self._flushed_ms = max(self._flushed_ms, whole_buckets(now_ms))
        while self._make_frame():
            pass

    def make_room(self) -> None:
        """Make frames while the core is full."""
        while self._core.full and self._make_frame():
            pass

    def _flush_later(self) -> None:
        now_ms, flush = self._clock.now_ms(), self._settings.flush
        bucket_left_ms = _BUCKET_MS - (now_ms - flush.delay_ms) % _BUCKET_MS
        self._loop.call_later(min(bucket_left_ms, flush.late_ms) / 1000, self._flush)

    def look_at_clock(self) -> None:
        """Flush all buckets after a clock jump, and continue with the new time."""
        jump_ms = self._clock.jump_ms()
        self._core.set_clock_base(self._clock.base_ms)
        if not jump_ms:
            return
        offset_ms, skew_ms = self._clock.offset_ms, self._clock.skew_ms
        self._log.warning(
            "clock",
            jumped_s=jump_ms / 1000,
            ahead_of_indexer_s=skew_ms / 1000,
            stamped_by="the indexer's time" if offset_ms else "this machine's clock",
        )
        now_ms = self._clock.now_ms()
        self._ahead_ms = max(-jump_ms, self._ahead_ms, 0)
        flushed = self._core.flush_all(now_ms)
        self._flushed_ms = whole_buckets(now_ms)
        self._framed_ms = min(self._framed_ms, self._flushed_ms - _BEFORE_JUMP_MS)
        self._beats.restart(self._framed_ms)
        self.hand_over(flushed)

    def _flush(self) -> None:
        self.look_at_clock()
        until_ms = self._clock.now_ms() - self._settings.flush.delay_ms
        flushed = self._core.flush(until_ms)
        ended = whole_buckets(until_ms) > self._flushed_ms  # then a heartbeat reports it, even without rows
        self._flushed_ms = max(self._flushed_ms, whole_buckets(until_ms))
        self.hand_over(flushed, ended=ended)
        self._flush_later()

    def checkpoint(self) -> bool:
        """Flush the open buckets, unless those of the last checkpoint are not in frames yet."""
        if not self._framing:
            self.hand_over(self._core.flush_all(self._clock.now_ms()))
            return True
        return False

    def hand_over(self, flushed: bool, *, ended: bool = False) -> None:
        """Schedule making frames, if rows were flushed or a bucket has `ended`."""
        if not flushed and not ended:
            return
        if flushed:
            self._sources.last_flush_s = time.time()
        if not self._framing:
            self._framing = True
            self._loop.call_soon(self._make_frames)

    def _make_frames(self) -> None:
        """Make a frame and reschedule. Sockets go first, but only for a while: frames free memory."""
        if self._backlog() and self._turns < _TURNS_PER_FRAME:
            self._turns += 1
        else:
            self._turns = 0
            self._framing = self._make_frame()
        if self._framing:
            self._loop.call_soon(self._make_frames)

    def _make_frame(self) -> bool:
        """Make one frame of flushed rows and put it into the spool; return False if nothing was left."""
        flush, now_ms = self._settings.flush, self._clock.now_ms()
        frame = self._core.next_frame(
            self._sender,
            self._sequence,
            now_ms,
            max_rows=flush.max_frame_rows,
            max_bytes=flush.max_frame_bytes,
        )
        if frame is None:
            self._ahead_ms = 0
            self._framed()
            return False
        if self._ahead_ms:
            future_ms = self._settings.aggregate.future_s * 1000 + _BUCKET_MS
            frame, moved = restamped(frame, now_ms, future_ms, self._ahead_ms)
            self._sources.restamped_rows += moved
        if self._exposition:
            self._exposition.fold(frame)
        if self._sends:
            self._put(msgspec.structs.replace(frame, flushed_until_ms=self._framed_ms))
        self._sequence += 1
        return True

    def _put(self, frame: Frame) -> None:
        """Put a frame into the spool."""
        made_ms = self._sources.steady_ms()
        self._spool.put(
            EncodedFrame(frame.identity, encode(frame), frame.rows, self._sequence, frame.lines, made_ms),
            at_once=self._settings.spool.checkpoint_ms > 0,
        )

    def _framed(self) -> None:
        """Record that no flushed rows wait: scrapes show them all, and the heartbeat may report it.

        The heartbeat does so when these frames are settled.
        """
        if self._exposition:
            self._exposition.publish()
        if self._flushed_ms > self._framed_ms:
            self._framed_ms = self._flushed_ms
            if self._sends:
                self._beats.flushed(self._framed_ms, self._sequence - 1)
