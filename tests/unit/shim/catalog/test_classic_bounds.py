"""From the extent of a metric to the boundaries it is shown with."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shim.catalog.classic_bounds import MAX_BOUNDS, NOTHING, Extent, bounds_of

SIZE = st.floats(1e-200, 1e200)
SIDE = st.none() | st.tuples(SIZE, SIZE).map(lambda pair: (min(pair), max(pair)))
EXTENTS = st.builds(Extent, SIDE, SIDE, st.booleans())


def test_powers_of_the_fourth_root_of_two_between_the_extremes() -> None:
    assert bounds_of(Extent((1.0, 2.0), None, zero=False)) == (
        2**-0.25, 1.0, 2**0.25, 2**0.5, 2**0.75, 2.0, math.inf,
    )  # fmt: skip
    assert bounds_of(Extent(None, None, zero=True)) == (0.0, math.inf)
    assert bounds_of(NOTHING) == (math.inf,)
    assert bounds_of(Extent((5e-324, 5e-324), (1e308, 1.7e308), zero=False))[-2:] == (5e-324, math.inf)
    assert bounds_of(Extent(None, (1.0, 1.0), zero=False)) == (-1.0, -(2**-0.25), 0.0, math.inf)


@given(EXTENTS)
def test_every_ladder_is_bounded_and_holds_the_extremes(extent: Extent) -> None:
    ladder = bounds_of(extent)
    assert 1 <= len(ladder) <= MAX_BOUNDS
    assert ladder[-1] == math.inf
    assert all(a < b for a, b in pairwise(ladder))
    if extent.positive is not None:
        assert any(0 <= b < extent.positive[0] for b in ladder)
        assert ladder[-2] >= extent.positive[1]
    if extent.negative is not None:
        assert ladder[0] <= -extent.negative[1]
        assert any(-extent.negative[0] < b <= 0 for b in ladder)


@given(EXTENTS, EXTENTS)
def test_joined_extents_hold_both(a: Extent, b: Extent) -> None:
    both = a.joined(b)
    assert both == b.joined(a)
    assert both.joined(a) == both
    assert a.joined(NOTHING) == a
