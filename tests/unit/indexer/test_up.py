"""The frames of `up`, and their tenants."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
from msgspec import structs

from agent.wire.frame import SeriesColumns
from indexer.agents.up import MAX_PROJECTS, Instance, ReportedUp, has_up, up_frame
from indexer.clickhouse.store import Store
from indexer.intern.series import Project
from indexer.intern.string_indexer import StringIndexer
from indexer.write.frame_to_columns import check
from tests.support.frames import FrameRows, counter_frame, make_frame
from tests.unit.agent.state import state_of_frames

AT_MS = 1_700_000_003_456


def test_its_frame() -> None:
    up = [Instance("meterhouse-agent", f"web-{n}") for n in range(3)] + [
        Instance("meterhouse-indexer", "a:1")
    ]
    frame = up_frame(Project(7, 9), up, AT_MS, ("meterhouse-indexer/a:1", 5, 6))
    check(frame, latest_s=AT_MS // 1000)
    assert (frame.org_id, frame.project_id, frame.rows) == (7, 9, 4)
    assert frame.identity == "meterhouse-indexer/a:1/5/6"
    state = state_of_frames([frame])
    assert len(state) == 4
    for job, instance in up:
        found = state["gauge", "up", (("instance", instance), ("job", job)), 1_700_000_000]
        assert (found["last"], found["count"]) == ((AT_MS, 1.0), 1.0)


def test_an_up_of_others_is_found() -> None:
    assert has_up(up_frame(Project(1, 1), [Instance("j", "i")], AT_MS, ("a", 1, 1)))
    assert has_up(counter_frame({"a": 1.0}, 10, name="up"))
    assert has_up(make_frame(FrameRows(gauges=[("x", {}, 10, (1, 1, 1, 1, 1, 1)), ("up", {}, 10, (1,) * 6)])))
    assert not has_up(counter_frame({"up": 1.0}, 10, name="down")), "a value of a tag"
    assert not has_up(counter_frame({"a": 1.0}, 10))
    assert not has_up(
        make_frame(FrameRows(), strings=["up"], series=SeriesColumns(name=np.zeros(0, "<u4").tobytes()))
    )


def test_the_projects_with_an_up_of_their_own_are_bounded() -> None:
    """Those that were forgotten are looked up again."""
    reported = ReportedUp(Mock(spec=Store), Mock(spec=StringIndexer))
    frame = counter_frame({"a": 1.0}, 1_700_000_000, name="up")
    for org_id in range(1, MAX_PROJECTS + 3):
        reported.saw(structs.replace(frame, org_id=org_id))
    assert len(reported._until_s) == 2
    assert reported.wins(Project(MAX_PROJECTS + 2, frame.project_id))
