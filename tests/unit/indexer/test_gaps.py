"""Gaps in the numbers of frames: which are gaps, which are not, and that memory is bounded."""

from __future__ import annotations

from indexer.agents.gaps import MAX_RANGES, SequenceGaps


def numbers(*stored: int, made: int = 0, over: int | None = None) -> SequenceGaps:
    """Return a run that is heard of from its start."""
    out = SequenceGaps()
    out.told(0, 0)
    for number in stored:
        out.stored(number)
    if over is not None:
        out.told(made or over, over)
    return out


def test_frames_that_overtake_each_other_are_no_gap() -> None:
    run = numbers(3, 1, 5)
    assert run.missing == 0, "the agent may still be sending 2 and 4"
    run.stored(2)
    run.told(5, 3)
    assert run.missing == 0
    run.stored(4)
    run.told(5, 5)
    assert (run.missing, run.ranges()) == (0, [])


def test_a_number_that_is_over_and_never_came_is_a_gap_until_it_comes() -> None:
    run = numbers(1, 2, 5, 9, over=9)
    assert (run.missing, run.ranges()) == (5, [(3, 4), (6, 8)])
    for number in (7, 7, 2, 9):
        run.stored(number)
    assert (run.missing, run.ranges()) == (4, [(3, 4), (6, 6), (8, 8)])
    for number in (3, 4, 6, 8):
        run.stored(number)
    assert run.missing == 0


def test_frames_lost_at_the_end_are_a_gap() -> None:
    run = numbers(1, over=4)
    assert run.ranges() == [(2, 4)]
    assert numbers(over=2).ranges() == [(1, 2)], "nothing ever came"


def test_what_an_earlier_process_may_have_stored_is_not_judged() -> None:
    run = SequenceGaps()
    assert not run.judged
    run.told(8, 5)
    assert run.judged
    for number in (8, 6, 9):
        run.stored(number)
    run.told(9, 9)
    assert run.missing == 0


def test_an_agent_that_does_not_say_is_not_judged() -> None:
    run = SequenceGaps()
    run.stored(1)
    run.stored(9)
    assert not run.judged
    assert run.missing == 0


def test_ranges_are_bounded_and_all_is_counted() -> None:
    last = 2 * MAX_RANGES + 101
    run = numbers(*range(1, last + 1, 2), over=last)
    assert run.missing == last // 2
    assert len(run.ranges()) == MAX_RANGES
