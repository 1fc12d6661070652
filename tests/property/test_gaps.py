"""Gaps are the numbers that were not stored, in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.indexer.test_gaps import numbers


@given(st.sets(st.integers(1, 40)), st.randoms(use_true_random=False), st.integers(0, 40))
def test_gaps_are_what_was_not_stored(stored: set[int], rnd: object, over: int) -> None:
    order = sorted(stored)
    rnd.shuffle(order)  # type: ignore[attr-defined]
    run = numbers(*order, made=40, over=over)
    assert run.missing == len(set(range(1, over + 1)) - stored)
