"""Moves rows out of the future after a clock was ahead. Pure.

Only for frames that were never encoded: a frame that was sent keeps its bytes.
"""

from __future__ import annotations

from array import array
from typing import Final, TypeVar

import msgspec

from agent.wire.frame import BUCKET_SECONDS, Counters, Distributions, Frame, Gauges, Sets

_BUCKET_MS: Final = BUCKET_SECONDS * 1000

T = TypeVar("T", Counters, Gauges, Distributions, Sets)


def restamped(frame: Frame, now_ms: int, future_ms: int, ahead_ms: int) -> tuple[Frame, int]:
    """Return the frame and the number of rows moved: those later than `future_ms` from now.

    They move back by `ahead_ms`, in whole buckets, and no further ahead than the current bucket.
    """
    present_s = now_ms // _BUCKET_MS * BUCKET_SECONDS
    latest_s = (now_ms + future_ms) // 1000
    back_s = -(-ahead_ms // _BUCKET_MS) * BUCKET_SECONDS
    moved = 0

    def time_of(bucket_s: int) -> int:
        return max(0, min(bucket_s - back_s, present_s)) if bucket_s > latest_s else bucket_s

    def kind(columns: T) -> T:
        nonlocal moved
        before = memoryview(columns.bucket).cast("I")
        after = array("I", map(time_of, before))
        changes = [i for i, (b, a) in enumerate(zip(before, after, strict=True)) if a != b]
        if not changes:
            return columns
        moved += len(changes)
        if isinstance(columns, Gauges):
            last = array("q", memoryview(columns.last_ms).cast("q"))
            for i in changes:
                last[i] = last[i] - (before[i] - after[i]) * 1000
            return msgspec.structs.replace(columns, bucket=after.tobytes(), last_ms=last.tobytes())
        return msgspec.structs.replace(columns, bucket=after.tobytes())

    frame = msgspec.structs.replace(
        frame,
        counters=kind(frame.counters),
        gauges=kind(frame.gauges),
        distributions=kind(frame.distributions),
        sets=kind(frame.sets),
    )
    return frame, moved
