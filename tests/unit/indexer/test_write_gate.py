"""Which INSERTs wait for a deletion: those of its org, and no others."""

from __future__ import annotations

import asyncio

import pytest

from indexer.write.batch_turns import TakenBatch
from indexer.write.gate_waits import GateWaits
from indexer.write.gated_batches import GatedBatches
from indexer.write.write_gate import WriteGate
from tests.support.frames import counter_frame, unit

FIRST, SECOND = (unit(counter_frame({"a": 1.0}, 0, sequence=1, org_id=org)) for org in (1, 2))


def test_a_deletion_holds_its_org_alone() -> None:
    gate = WriteGate()
    with gate.alone(1, 0.0):
        assert gate.closed == {1}
        assert gate.enter([1, 2]) == {1}
        gate.leave([2])
        with gate.insert([2]), gate.alone(3, 0.0):
            assert gate.closed == {1, 3}
    assert gate.enter([1]) == frozenset()


def test_a_deletion_gives_up_after_its_time() -> None:
    gate = WriteGate()
    assert not gate.enter([1])
    with pytest.raises(TimeoutError), gate.alone(1, 0.0):
        pass
    gate.leave([1])
    with gate.alone(1, 0.0):
        assert gate.closed == {1}


def test_frames_of_a_closed_org_leave_a_batch() -> None:
    gate = WriteGate()
    gated = GatedBatches(gate)
    with gate.alone(1, 0.0):
        with gated.entered(TakenBatch("t", [FIRST, SECOND])) as batch:
            assert batch == TakenBatch("t", [SECOND])
            with pytest.raises(TimeoutError), gate.alone(2, 0.0):
                pass
        with gated.entered(TakenBatch(FIRST.identity, [FIRST])) as batch:
            assert batch is None
        with gated.passing([FIRST, SECOND]) as entered:
            assert not entered
        assert gated.opened() == []
        assert gated.wait_s(None) == gated.wait_s(5_000) == 0.1
    shared, alone = gated.opened()
    assert shared.token != "t", "that one is written without them"
    assert (shared.units, alone) == ([FIRST], TakenBatch(FIRST.identity, [FIRST]))
    assert gated.wait_s(None) is None
    assert not gated.opened()


async def test_all_frames_of_an_org_wait_with_one_look() -> None:
    gate, looks, entered = WriteGate(), 0, 0

    async def look(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            deletion.__exit__(None, None, None)

    waits = GateWaits(gate, look)

    async def write() -> None:
        nonlocal entered
        await waits.opened(1)
        entered += 1

    deletion = gate.alone(1, 0.0)
    deletion.__enter__()
    await asyncio.gather(*(write() for _ in range(100)))
    assert (looks, entered) == (3, 100)
