from __future__ import annotations

from typing import Final

import pytest

from indexer.settings import BatchSettings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batcher import Batcher
from tests.support.frames import FrameRows, counter_frame, make_frame, unit

#: The number of the first frame: those after it are equally long, and so are the frames.
FIRST: Final = 1_000_000


def units(count: int, rows: int = 1) -> list[AcceptedFrame]:
    values = {f"h{i}": 1.0 for i in range(rows)}
    return [unit(counter_frame(values, 0, sequence=FIRST + n)) for n in range(count)]


def backfilled(number: int) -> AcceptedFrame:
    return unit(counter_frame({"a": 1.0}, 0, sequence=FIRST + number, agent="backfill/00"))


def test_nothing_waits() -> None:
    batcher = Batcher(BatchSettings(), 1000)
    assert batcher.ready_in_ms(0) is None
    assert batcher.take() == []


def test_lingers_for_more_then_goes() -> None:
    batcher = Batcher(BatchSettings(linger_ms=50), 1 << 20)
    first, second = units(2)
    assert batcher.offer(first, 100)
    assert batcher.ready_in_ms(110) == 40
    assert batcher.offer(second, 120)
    assert batcher.ready_in_ms(120) == 30
    assert batcher.ready_in_ms(500) == 0
    assert batcher.take() == [first, second]
    assert batcher.ready_in_ms(500) is None


def test_enough_rows_go_at_once() -> None:
    batcher = Batcher(BatchSettings(rows=10), 1 << 20)
    many = units(3, rows=6)
    for u in many:
        assert batcher.offer(u, 0)
    assert batcher.ready_in_ms(0) == 0
    assert batcher.take() == many[:1]
    assert batcher.take() == many[1:2]
    assert batcher.ready_in_ms(0) == 50


def test_each_kind_of_several_frames_fits_into_one_insert(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame may leave a batch that is stored in part: rows that moved to another INSERT would be lost."""
    monkeypatch.setattr("indexer.write.batcher.MAX_BLOCK_ROWS", 10)
    batcher = Batcher(BatchSettings(rows=1_000_000), 1 << 20)
    one, two, large = *units(2, rows=6), unit(counter_frame({f"h{i}": 1.0 for i in range(12)}, 0))
    for u in (one, two, large):
        assert batcher.offer(u, 0)
    assert batcher.ready_in_ms(0) == 0
    assert [batcher.take() for _ in range(3)] == [[one], [two], [large]]


def test_enough_bytes_go_at_once() -> None:
    many = units(3)
    batcher = Batcher(BatchSettings(bytes=many[0].held_bytes + many[1].held_bytes), 1 << 20)
    for u in many:
        assert batcher.offer(u, 0)
    assert batcher.ready_in_ms(0) == 0
    assert len(batcher.take()) == 2


def test_one_unit_above_the_bounds_goes_alone() -> None:
    batcher = Batcher(BatchSettings(rows=1, bytes=1), 1)
    large, small = units(1, rows=100)[0], units(1)[0]
    assert batcher.offer(large, 0)
    assert not batcher.offer(small, 0)
    assert batcher.take() == [large]
    assert not batcher.offer(small, 0)  # it is still being written
    batcher.release([large])
    assert batcher.held_bytes == 0
    assert batcher.offer(small, 0)


def test_queue_is_bounded_by_bytes() -> None:
    many = units(10)
    batcher = Batcher(BatchSettings(), sum(u.held_bytes for u in many[:4]))
    assert [batcher.offer(u, 0) for u in many] == [True] * 4 + [False] * 6
    batcher.release(batcher.take())
    assert batcher.offer(many[9], 0)


def test_an_orgs_backlog_leaves_half_of_the_queue_to_others() -> None:
    size = units(1)[0].held_bytes
    batcher = Batcher(BatchSettings(), 10 * size)
    assert all(batcher.offer(u, 0) for u in units(5))
    other = unit(counter_frame({"h0": 1.0}, 0, org_id=2, sequence=FIRST))
    assert batcher.offer(other, 0)
    assert not batcher.offer(units(1)[0], 0)  # half of it is theirs already
    assert batcher.offer(other, 0)
    batcher.release(batcher.take())
    assert batcher.held_bytes == 0


def test_an_org_alone_has_the_whole_queue() -> None:
    size = units(1)[0].held_bytes
    batcher = Batcher(BatchSettings(), 10 * size)
    assert [batcher.offer(u, 0) for u in units(11)] == [True] * 10 + [False]


def test_set_members_and_histogram_entries_count_as_held() -> None:
    few = unit(make_frame(FrameRows(sets=[("users", {}, 0, [1])])))
    many = unit(make_frame(FrameRows(sets=[("users", {}, 0, [1] * 100_000)])))
    assert many.held_bytes - few.held_bytes > 8 * 99_999


def on_days(org_id: int, *days: int) -> AcceptedFrame:
    return unit(
        make_frame(FrameRows(counters=[("hits", {}, day * 86_400, 1.0) for day in days]), org_id=org_id)
    )


def test_a_batch_has_few_days_and_passes_over_what_does_not_fit() -> None:
    batcher = Batcher(BatchSettings(), 1 << 20)
    first = [on_days(1, day) for day in range(32)]
    beyond, fits = on_days(1, 40, 41), on_days(1, 3)
    for u in (*first, beyond, fits):
        assert batcher.offer(u, 0)
    assert batcher.take() == [*first, fits]
    assert batcher.take() == [beyond]
    assert len(batcher) == 0


def test_orgs_take_turns_so_that_days_of_one_leave_room_for_others() -> None:
    batcher = Batcher(BatchSettings(), 1 << 20)
    many = [on_days(1, day) for day in range(100)]
    other = on_days(2, 500)
    for u in (*many, other):
        assert batcher.offer(u, 0)
    assert other in batcher.take()
    taken = [batcher.take() for _ in range(3)]
    assert sum(map(len, taken)) == 100 - 31
    assert batcher.ready_in_ms(0) is None


def test_who_waits_longest_goes_first() -> None:
    batcher = Batcher(BatchSettings(rows=1), 1 << 20)
    first, second = on_days(7, 1), on_days(3, 1)
    assert batcher.offer(first, 1)
    assert batcher.offer(second, 2)
    assert [batcher.take(), batcher.take()] == [[first], [second]]


def of_agent(agent: str, count: int) -> list[AcceptedFrame]:
    return [unit(counter_frame({"h": 1.0}, 0, agent=agent, sequence=FIRST + n)) for n in range(count)]


def test_agents_of_an_org_take_turns() -> None:
    """The live frame of one does not wait for the backlog of another."""
    batcher = Batcher(BatchSettings(rows=4), 1 << 20)
    backlog, live = of_agent("a", 10), of_agent("b", 1)
    for u in (*backlog, *live):
        assert batcher.offer(u, 0)
    first = batcher.take()
    assert live[0] in first[:2]
    rest = [u for _ in range(3) for u in batcher.take()]
    assert [u for u in (*first, *rest) if u is not live[0]] == backlog  # an agent's own order is kept


def test_a_backlog_leaves_room_in_the_queue_for_other_agents() -> None:
    size = of_agent("a", 1)[0].held_bytes
    batcher = Batcher(BatchSettings(), 12 * size)
    assert all(batcher.offer(u, 0) for u in of_agent("a", 6))
    assert all(batcher.offer(u, 0) for u in of_agent("b", 1))
    assert not any(batcher.offer(u, 0) for u in of_agent("a", 1))  # it has its half
    assert all(batcher.offer(u, 0) for u in of_agent("b", 3))
    assert all(batcher.offer(u, 0) for u in of_agent("c", 2))
    batcher.release(batcher.take())
    assert batcher.held_bytes == 0
    assert [batcher.offer(u, 0) for u in of_agent("a", 13)] == [True] * 12 + [False]  # alone it has all


def heavy(org_id: int = 1) -> AcceptedFrame:
    """Return a frame of a set of 600,000 members."""
    one = unit(make_frame(FrameRows(sets=[("users", {}, 0, range(600_000))]), org_id=org_id))
    assert one.heavy
    return one


def test_light_frames_of_other_orgs_do_not_wait_for_a_heavy_one_in_their_batch() -> None:
    batcher = Batcher(BatchSettings(), 1 << 30)
    large, after = heavy(), on_days(1, 1)
    light = [on_days(2, 1), on_days(3, 1), on_days(2, 2)]
    for u in (large, *light, after):
        assert batcher.offer(u, 0)
    assert sorted(u.frame.org_id for u in batcher.take()) == [2, 2, 3]
    assert batcher.take() == [large, after]
    assert len(batcher) == 0


def test_heavy_frames_of_two_orgs_are_batches_of_their_own_and_wait_for_one_light_batch_at_most() -> None:
    batcher = Batcher(BatchSettings(), 1 << 30)
    first, second = heavy(1), heavy(2)
    assert batcher.offer(first, 0)
    assert batcher.offer(second, 1)
    taken = []
    for number in range(4):
        assert batcher.offer(on_days(3, number), 2)
        taken.append([u.frame.org_id for u in batcher.take()])
    assert taken == [[3], [1], [3, 3], [2]]
    assert [u.frame.org_id for u in batcher.take()] == [3]


def test_heavy_frames_of_an_org_alone_share_a_batch() -> None:
    batcher = Batcher(BatchSettings(), 1 << 30)
    many = [heavy(), on_days(1, 1), heavy()]
    for u in many:
        assert batcher.offer(u, 0)
    assert batcher.take() == many


def test_live_frames_wait_for_one_batch_of_a_backfill_at_most() -> None:
    batcher = Batcher(BatchSettings(), 1 << 30)
    old = [backfilled(number) for number in range(6)]
    live = units(3)
    for u in (*old[:2], live[0]):
        assert batcher.offer(u, 0)
    assert batcher.take() == [live[0]]
    assert batcher.offer(live[1], 1)
    assert batcher.take() == old[:2]  # once in turn, however many live frames wait
    assert batcher.offer(old[2], 2)
    assert batcher.take() == [live[1]]
    assert batcher.take() == [old[2]]
    assert batcher.offer(old[3], 3)
    assert batcher.offer(live[2], 3)
    assert batcher.take(held={1}) == []
    assert batcher.ready_in_ms(3, held={1}) is None
    assert [batcher.take(), batcher.take()] == [[live[2]], [old[3]]]
    assert (len(batcher), batcher.ready_in_ms(4)) == (0, None)


def test_a_paced_batch_has_rows_of_backfills_too() -> None:
    """They are divided from it later (indexer/write/batch_claims.py)."""
    batcher = Batcher(BatchSettings(), 1 << 30, paced=True)
    both = [backfilled(1), units(1)[0]]
    for u in both:
        assert batcher.offer(u, 0)
    assert batcher.take() == both


def test_a_paced_batch_has_the_frames_of_all_agents_that_flush_at_the_same_moment() -> None:
    batcher = Batcher(BatchSettings(linger_ms=50), 1 << 20, paced=True)
    many = units(40)
    for number, one in enumerate(many[:30]):  # in 300 ms
        assert batcher.offer(one, 1_000 + 10 * number)
        assert batcher.ready_in_ms(1_000 + 10 * number) == 100
    assert batcher.ready_in_ms(1_391) == 0
    for number, one in enumerate(many[30:]):  # without an end
        assert batcher.offer(one, 1_390 + 40 * number)
    assert batcher.ready_in_ms(1_750) == 50, "the first one waits for 0.8 s at most"
    assert batcher.ready_in_ms(1_750, 3_000) == 3_000
    assert batcher.take() == many


def test_held_orgs_wait_and_others_do_not() -> None:
    """A deletion of an org holds its frames back: the queue stays, and no loop turns for them."""
    batcher = Batcher(BatchSettings(rows=10, linger_ms=50), 1 << 20)
    many = units(2, rows=6)
    other = unit(counter_frame({"a": 1.0}, 0, sequence=FIRST, org_id=2))
    for u in many:
        assert batcher.offer(u, 0)
    assert batcher.ready_in_ms(0) == 0
    assert batcher.ready_in_ms(0, held={1}) is None
    assert batcher.offer(other, 10)
    assert batcher.ready_in_ms(10, held={1}) == 50
    assert batcher.take(held={1}) == [other]
    assert batcher.take(held={1}) == []
    assert batcher.ready_in_ms(10) == 0
    assert [batcher.take(), batcher.take()] == [[many[0]], [many[1]]]
