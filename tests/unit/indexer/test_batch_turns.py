"""Messages with a key hold up no agents' frames, and those of one org not another's."""

from __future__ import annotations

from dataclasses import replace

from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_claims import divided
from indexer.write.batch_turns import BatchTurns
from indexer.write.parts_pace import PartsPace
from tests.support.frames import counter_frame, unit


def keyed(org_id: int, number: int) -> AcceptedFrame:
    frame = counter_frame({"a": 1.0}, 0, org_id=org_id, sequence=number)
    return replace(unit(frame), identity=f"messages/{org_id}:1/key/x/{number}")


def test_orgs_take_turns_and_frames_of_agents_do_not_wait_for_all_messages() -> None:
    turns = BatchTurns()
    turns.add(divided([keyed(1, n) for n in range(50)]))
    first = turns.pop()
    assert first.alone
    frames = [unit(counter_frame({"a": 1.0}, 0, org_id=2, sequence=n)) for n in range(3)]
    turns.add(divided([*frames, keyed(3, 1)]))
    assert turns.pop().units == frames
    later = [turns.pop().units[0].frame.org_id for _ in range(3)]
    assert 3 in later
    assert later.count(1) == 2


def test_single_messages_have_their_turn_beside_many_batches() -> None:
    turns = BatchTurns()
    turns.add(divided([keyed(1, 1)]))
    for n in range(3):
        turns.add(divided([unit(counter_frame({"a": 1.0}, 0, sequence=n))]))
    alone = [turns.pop().alone for _ in range(4)]
    assert alone == [False, True, False, False]
    assert not turns


def test_later_batches_do_not_wait_for_the_parts_of_single_messages() -> None:
    pace = PartsPace(3.0)
    with pace.unowed():
        for _ in range(100):
            pace.made(8, 5_000)
    assert pace.wait_ms(5_000) == 0
    pace.made(12, 5_000)
    owed_ms = pace.wait_ms(5_000)
    with pace.unowed():
        pace.made(8, 5_000)
    assert 0 < pace.wait_ms(5_000) == owed_ms
