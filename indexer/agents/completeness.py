"""Which buckets are complete: the one definition, for whoever answers, checks rules or notifies. Pure.

A bucket is complete when every agent that was heard of in the last 30 s is past it, or `settle_ms` after its
end. An agent is past a bucket when all it has of it is stored (agent/wire/heartbeat.py). So an agent that is
slow, whose clock is behind, or that sends no heartbeats holds a bucket up for `settle_ms` and no longer; one
that has ended, or was not heard of for 30 s, is not waited for. Lines that are late by `|T` do not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from agent.wire.frame import BUCKET_SECONDS

#: An agent is waited for so long after it was last heard of.
HEARD_MS: Final = 30_000
#: Clocks that differ by more are named, and times that are further ahead do not count.
SKEW_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one run of an agent is, and when that was last heard (Unix milliseconds)."""

    flushed_until_ms: int
    heard_ms: int
    ended: bool = False

    def alive(self, now_ms: int) -> bool:
        """Whether it is waited for."""
        return not self.ended and abs(now_ms - self.heard_ms) < HEARD_MS

    def seen_at(self, now_ms: int) -> Progress:
        """Return what of it still counts now: a time ahead was told before a clock stepped back."""
        flushed_ms = min(self.flushed_until_ms, now_ms + SKEW_MS)
        return Progress(flushed_ms, min(self.heard_ms, now_ms), self.ended)

    def after(self, other: Progress) -> Progress:
        """What is known when both are: news may come in any order."""
        return Progress(
            max(self.flushed_until_ms, other.flushed_until_ms),
            max(self.heard_ms, other.heard_ms),
            self.ended or other.ended,
        )


def settled_s(now_ms: int, settle_ms: int) -> int:
    """The end of the last bucket that is complete whatever agents say, in Unix seconds."""
    return _whole(now_ms - settle_ms)


def complete_s(agents: Iterable[Progress], now_ms: int, settle_ms: int) -> int:
    """The end of the last complete bucket, in Unix seconds. With no agent to wait for time alone decides."""
    past_ms = min((a.flushed_until_ms for a in agents if a.alive(now_ms)), default=0)
    return max(settled_s(now_ms, settle_ms), _whole(min(past_ms, now_ms)))


def _whole(time_ms: int) -> int:
    return time_ms // (1000 * BUCKET_SECONDS) * BUCKET_SECONDS
