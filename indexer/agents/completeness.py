"""Defines which buckets are complete, for queries, rules and notifications. Pure.

A bucket is complete when every agent heard of in the last 30 s has passed it, or `settle_ms` after its end.
An agent has passed a bucket when all its rows of it are stored (agent/wire/heartbeat.py). An agent that is
slow, whose clock is late, or that sends no heartbeats delays a bucket by at most `settle_ms`. An agent that
ended, or was silent for 30 s, delays nothing. Lines that are late by `|T` do not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from agent.wire.frame import BUCKET_SECONDS

#: An agent is waited for until this long after it was last heard of.
HEARD_MS: Final = 30_000
#: Clocks that differ by more are reported, and times further ahead do not count.
SKEW_MS: Final = 60_000


class Progress(msgspec.Struct, frozen=True):
    """The progress of one run of an agent, and the time it was last heard (Unix milliseconds)."""

    flushed_until_ms: int
    heard_ms: int
    ended: bool = False

    def alive(self, now_ms: int) -> bool:
        """Return whether the agent is waited for."""
        return not self.ended and abs(now_ms - self.heard_ms) < HEARD_MS

    def seen_at(self, now_ms: int) -> Progress:
        """Return the part that still counts now: a time ahead was reported before a clock was set back."""
        flushed_ms = min(self.flushed_until_ms, now_ms + SKEW_MS)
        return Progress(flushed_ms, min(self.heard_ms, now_ms), self.ended)

    def after(self, other: Progress) -> Progress:
        """Return the combined progress of both; news may arrive in any order."""
        return Progress(
            max(self.flushed_until_ms, other.flushed_until_ms),
            max(self.heard_ms, other.heard_ms),
            self.ended or other.ended,
        )


def settled_s(now_ms: int, settle_ms: int) -> int:
    """Return the end of the last bucket that is complete regardless of agents, in Unix seconds."""
    return _whole(now_ms - settle_ms)


def complete_s(agents: Iterable[Progress], now_ms: int, settle_ms: int) -> int:
    """Return the end of the last complete bucket, in Unix seconds. Without agents, time alone decides."""
    past_ms = min((a.flushed_until_ms for a in agents if a.alive(now_ms)), default=0)
    return max(settled_s(now_ms, settle_ms), _whole(min(past_ms, now_ms)))


def _whole(time_ms: int) -> int:
    return time_ms // (1000 * BUCKET_SECONDS) * BUCKET_SECONDS
