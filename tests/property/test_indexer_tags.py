"""The compiled hashes of tags are those of NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer._native.tags import tag_sums_of
from indexer.intern.series import tag_sums_in_numpy

strings = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=9)


@given(strings, st.lists(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=4)))
def test_any_tags(ids: list[int], series: list[list[tuple[int, int]]]) -> None:
    numbers = np.array(ids, np.uint64)
    counts = np.array([len(tags) for tags in series], "<u2")
    keys, values = (
        np.array([tag[part] % len(ids) for tags in series for tag in tags], "<u4") for part in (0, 1)
    )
    got = tag_sums_of(numbers, counts, keys, values)
    assert np.array_equal(got, tag_sums_in_numpy(numbers, counts, keys, values))


def test_what_is_out_of_range() -> None:
    ids, one, two = np.ones(2, np.uint64), np.ones(1, "<u4"), np.full(1, 2, "<u4")
    with pytest.raises(IndexError, match="no string"):
        tag_sums_of(ids, np.ones(1, "<u2"), one, two)
    with pytest.raises(IndexError, match="no string"):
        tag_sums_of(ids, np.ones(1, "<u2"), two, one)
    with pytest.raises(ValueError, match="fewer tags"):
        tag_sums_of(ids, np.full(1, 2, "<u2"), one, one)
    with pytest.raises(ValueError, match="different numbers"):
        tag_sums_of(ids, np.ones(1, "<u2"), one, one[1:])
