"""The compiled order of rows is the one of `numpy.lexsort`, equal rows as they came."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer._native.order import order

AnyArray = npt.NDArray[Any]
DTYPES = ("<u4", "<u4", "<u8", "<u8", "<u4")

small = st.integers(0, 3)
hashes = st.integers(0, 2**64 - 1)
buckets = st.one_of(small.map(lambda n: 1_700_000_000 + 10 * n), st.integers(0, 2**32 - 1))
rows = st.lists(st.tuples(small, small, st.one_of(small, hashes), st.one_of(small, hashes), buckets))


def columns(table: list[tuple[int, ...]]) -> list[AnyArray]:
    return [np.array([row[i] for row in table], dtype) for i, dtype in enumerate(DTYPES)]


@given(rows, st.integers(1, 4))
def test_any_rows(table: list[tuple[int, ...]], times: int) -> None:
    keys = columns(table * times)
    got = order(*keys)
    assert got is None or np.array_equal(got, np.lexsort(keys[::-1]))


@pytest.mark.parametrize("metrics", [1, 50, 8_192])
@pytest.mark.parametrize("span_s", [0, 600, 90_000])
@pytest.mark.parametrize("each", [1, 5])
def test_rows_as_they_come(metrics: int, span_s: int, each: int) -> None:
    rng = np.random.default_rng(metrics + span_s + each)
    count = 20_000
    ids, names = (rng.integers(1, 1 << 63, n, dtype=np.uint64) for n in (count // each, metrics))
    of = rng.integers(0, len(ids), count)
    keys: list[AnyArray] = [
        np.full(count, 1, np.uint32),
        rng.integers(1, 3, count, dtype=np.uint32),
        names[of % metrics],
        ids[of],
        (1_700_000_000 + rng.integers(0, span_s + 1, count) // 10 * 10).astype(np.uint32),
    ]
    got = order(*keys)
    assert got is not None
    assert np.array_equal(got, np.lexsort(keys[::-1]))


def test_what_takes_another_way() -> None:
    one, many = np.ones(20_000, np.uint32), np.arange(20_000, dtype=np.uint64)
    assert order(one, one, many, many, one) is None  # 20,000 metrics
    assert (
        order(one, one, np.ones(20_000, np.uint64), many[::-1].copy(), one) is None
    )  # ids that are no hashes
    with pytest.raises(ValueError, match="different lengths"):
        order(one, one, many, many, one[1:])
