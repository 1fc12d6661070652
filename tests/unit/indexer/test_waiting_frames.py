"""How long the oldest frame waits, by which /readyz tells a writer that stalls."""

from __future__ import annotations

from indexer.write.waiting_frames import WaitingFrames
from tests.support.frames import counter_frame, unit

FIRST, SECOND = (unit(counter_frame({"a": 1.0}, 0, sequence=org, org_id=org)) for org in (1, 2))


async def test_time_in_a_deletion_does_not_count() -> None:
    now_s = [0.0]
    waiting = WaitingFrames(lambda: now_s[0])
    assert waiting.oldest_s() == 0
    waiting.add(FIRST)
    now_s[0] = 10.0
    waiting.add(SECOND)
    now_s[0] = 40.0
    assert waiting.oldest_s() == 40
    assert waiting.oldest_s({1}) == 30
    waiting.end([SECOND], {})
    now_s[0] = 45.0
    assert waiting.oldest_s() == 5
