"""Every tick of a schedule is due once, and schedules are spread over their step."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shim.ticks.due_ticks import Schedule, due_ticks, spread_offset_s


@given(
    st.integers(60, 4_000),
    st.integers(0, 10_000),
    st.integers(0, 3_999),
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(1, 20),
)
def test_every_tick_is_due_once(
    step_s: int, since_s: int, offset_s: int, passed: int, more: int, max_late: int
) -> None:
    """Ticks after `since_s` come in order, without a gap but for those that are too late."""
    of = Schedule(step_s, since_s, offset_s % step_s)
    first = due_ticks(of, None, since_s + passed * step_s, max_late)
    end_s = since_s + passed * step_s
    all_of = [t for t in range(offset_s % step_s, end_s + 1, step_s) if t > since_s]
    assert list(first.ticks) == all_of[-max_late:]
    assert first.skipped == len(all_of) - len(first.ticks)
    last_s = first.ticks[-1] if first.ticks else None
    later = due_ticks(of, last_s, since_s + (passed + more) * step_s, 1_000)
    assert not first.ticks or len(later.ticks) == more
    assert not first.ticks or not more or later.ticks[0] == first.ticks[-1] + step_s


@given(st.integers(1, 4_000), st.text())
def test_an_offset_lies_within_the_step(step_s: int, key: str) -> None:
    assert 0 <= spread_offset_s(key, step_s) < step_s
    assert spread_offset_s(key, step_s) == spread_offset_s(key, step_s)


def test_schedules_are_spread_over_their_step() -> None:
    ticks = Counter(spread_offset_s(f"1/{n}/a.yml;group", 60) // 10 for n in range(600))
    assert sorted(ticks) == [0, 1, 2, 3, 4, 5]
    assert min(ticks.values()) > 60
