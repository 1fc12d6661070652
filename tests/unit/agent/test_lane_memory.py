"""Frames that an indexer postpones while it takes others are bounded in memory."""

from __future__ import annotations

from agent.forward.lanes import Lanes
from agent.forward.spool.bindings import Bindings
from agent.forward.spool.record import EncodedFrame
from agent.forward.spool.spool import Spool
from agent.forward.target_choice import TargetChoice


def test_a_lane_takes_no_new_frames_while_it_holds_half_of_the_memory() -> None:
    bindings = Bindings(None)
    spool = Spool(1_000, bindings=bindings)
    choice = TargetChoice(1, failover_s=10.0, return_s=30.0, try_every_s=15.0)
    lanes = Lanes(spool, bindings, ["http://a:1"], choice, {}, lambda: 1_000.0)
    frames = [EncodedFrame(f"web/1/{n}", b"x" * 100, 1, n, 1, 1_000) for n in range(1, 10)]
    for frame in frames:
        spool.put(frame)
    taken = []
    while some := lanes.take(0, 1, 1 << 20, 1, live_first=True):
        taken += some
        lanes.again(0, some[0], 5.0, sent=True)
    assert len(taken) == 6
    lanes.hurry()
    (first,) = lanes.take(0, 1, 1 << 20, 1, live_first=True)
    lanes.done(0, first)
    assert lanes.held_frames() == {"http://a:1": 5}
