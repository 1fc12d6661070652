"""Which steps of a range query are shown at the live edge."""

from __future__ import annotations

import numpy as np
import pytest

from shim.model.grid import Grid
from shim.model.values import Histogram, Scalar, Spans, Vector
from shim.read.shown_steps import Seen, first_steps, steps_shown

#: Steps at 0, 10, ... 100 s; the last complete bucket ends at 80 s.
GRID = Grid(0, 100_000, 10_000)
COMPLETE_S = 80


def shown(*seen: Seen, grid: Grid = GRID, complete_s: int = COMPLETE_S) -> int:
    """Return the last step that is shown, in seconds; -1 for none."""
    steps = steps_shown(grid, seen, complete_s)
    return -1 if not steps else int(grid.times_ms[steps - 1]) // 1000


def test_deltas_are_shown_up_to_the_last_complete_bucket() -> None:
    assert shown(Seen(GRID, exact=False)) == 80
    assert shown(Seen(GRID, exact=False), complete_s=90) == 90
    fine = Grid(0, 100_000, 1_000)
    assert shown(Seen(fine, exact=False), grid=fine) == 89, "89 s is taken down to 80 s"


def test_gauges_are_shown_up_to_their_time() -> None:
    fine = Grid(0, 100_000, 1_000)
    assert shown(Seen(fine, exact=True), grid=fine) == 80
    assert shown(Seen(fine, exact=True), Seen(fine, exact=False), grid=fine) == 80


@pytest.mark.parametrize("exact", [True, False])
def test_an_offset_shows_more(exact: bool) -> None:
    assert shown(Seen(GRID.shifted(-10_000), exact)) == 90
    assert shown(Seen(GRID.shifted(-60_000), exact)) == 100
    assert shown(Seen(GRID.shifted(-60_000), exact), Seen(GRID, exact)) == 80
    assert shown(Seen(GRID.shifted(60_000), exact)) <= 80, "what is to come changes nothing here"


def test_what_reads_nothing_is_all_shown() -> None:
    assert shown() == 100
    assert shown(Seen(Grid.instant(100_000), exact=True)) == 100, "`@` is the same for all steps"


def test_nothing_is_shown_of_what_is_to_come() -> None:
    later = Grid(90_000, 190_000, 10_000)
    assert shown(Seen(later, exact=False), grid=later) == -1
    one = Grid.instant(95_000)
    assert shown(Seen(one, exact=True), grid=one) == -1


@pytest.mark.parametrize("offset_ms", [0, 30_000])
def test_a_subquery_sees_its_own_times(offset_ms: int) -> None:
    """Every step that sees an incomplete time is left out, for any two steps."""
    for asked_ms, own_ms in ((10_000, 30_000), (7_000, 20_000), (15_000, 10_000), (30_000, 7_000)):
        grid = Grid(1_000, 200_000, asked_ms)
        end_ms = (grid.end_ms - offset_ms) // own_ms * own_ms
        own = Grid(0, end_ms, own_ms)
        steps = steps_shown(grid, [Seen(own, exact=True)], COMPLETE_S)
        for t in grid.times_ms[:steps].tolist():
            assert (t - offset_ms) // own_ms * own_ms <= COMPLETE_S * 1000
        assert int(grid.times_ms[steps]) > COMPLETE_S * 1000, "and not more than has to be"


def test_first_steps_of_each_value() -> None:
    scalar = first_steps(Scalar(np.arange(5.0)), 2)
    assert isinstance(scalar, Scalar)
    assert scalar.values.tolist() == [0.0, 1.0]
    spans = Spans.dense(3, np.arange(10.0).reshape(5, 2))
    five = np.arange(5.0)
    histogram = Histogram(np.ones(5, bool), five, five, five, spans, Spans.empty(5))
    vector = Vector(5, [()], five[None], np.ones((1, 5), bool), [(("a", "b"),)], [histogram], ordered=True)
    cut = first_steps(vector, 3)
    assert isinstance(cut, Vector)
    assert (cut.steps, cut.values.shape, cut.present.shape, cut.ordered) == (3, (1, 3), (1, 3), True)
    (found,) = cut.histograms
    assert found.count.tolist() == [0.0, 1.0, 2.0]
    assert found.positive.counts.shape == (3, 2)
    assert found.negative.counts.shape == (3, 0)
    assert (vector.steps, len(spans.counts)) == (5, 5), "what was given is as it was"
