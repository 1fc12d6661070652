"""Frames of many days, whose parts are written in turn."""

from __future__ import annotations

import pytest

from indexer.metrics import Metrics
from indexer.receive.intake import Intake
from indexer.receive.org_rates import OrgRates
from indexer.settings import Limits
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import Limited, Unavailable
from indexer.write.frame_retention import ConfiguredRetention
from indexer.write.known_frames import NoKnownFrames
from tests.support.frames import CREATED_MS, TEN_YEARS, FrameRows, Tags, make_frame, unit

DAY_S = 86_400
FIRST_S = CREATED_MS // 1000 // DAY_S * DAY_S - 100 * DAY_S


class FullWriter:
    """A writer that takes a number of frames, and begins no other."""

    def __init__(self, room: int, error: Unavailable | Limited) -> None:
        self.room = room
        self.error = error

    async def start(self) -> None:
        pass

    async def write(self, unit: AcceptedFrame) -> None:  # noqa: ARG002
        if not self.room:
            raise self.error
        self.room -= 1

    async def knows(self, unit: AcceptedFrame) -> bool:  # noqa: ARG002
        return False

    def oldest_waiting_s(self) -> float:
        return 0.0

    async def stop(self, deadline_s: float) -> None:
        pass


ERRORS = [Unavailable("full", 3, begun=False), Limited("too many", 3)]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("room", [0, 1])
async def test_a_frame_whose_first_part_is_stored_is_begun(error: Unavailable | Limited, room: int) -> None:
    """Else its request's key would be free for other bytes."""
    rows: list[tuple[str, Tags, int, float]] = [("m", {}, FIRST_S, 1.0), ("m", {}, FIRST_S + 60 * DAY_S, 1.0)]
    one = unit(make_frame(FrameRows(counters=rows), created_ms=CREATED_MS))
    writer, retentions = FullWriter(room, error), ConfiguredRetention(TEN_YEARS, ())
    rates = OrgRates(Limits(), lambda: 0.0)
    intake = Intake(writer, retentions, NoKnownFrames(), Metrics(), rates, lambda: CREATED_MS)
    with pytest.raises(type(error), match=str(error)) as raised:
        await intake.write([one])
    assert isinstance(raised.value, Unavailable | Limited)
    assert raised.value.retry_after_s == 3
    assert raised.value.begun == (room > 0)
    assert not error.begun, "others may have been told it"
