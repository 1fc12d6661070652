"""Rows of points: compiled code writes the bytes of the definition, and these read back the same."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shim.http import points
from shim.http._native import points as native
from shim.http.number_json import time_text
from shim.http.points import write_rows_in_python
from shim.model.number_format import float_text
from shim.model.values import Bools, Floats, Ints

#: All of them, with subnormals, -0, infinities and every NaN; and such as people have: n/300, whole, decimal.
_FLOATS = st.one_of(
    st.floats(),
    st.integers(0, 2**64 - 1).map(lambda bits: float(struct.unpack("<d", struct.pack("<Q", bits))[0])),
    st.integers(-(10**6), 10**6).map(lambda n: n / 300),
    st.integers(-(2**70), 2**70).map(float),
    st.decimals(-(10**9), 10**9, places=3).map(float),
    st.sampled_from([0.0, -0.0, 5e-324, 1e-6, 9.9e-7, 1e21, 9.999999999999999e20, 2.0**53, 1e23, 1.5e300]),
)


@st.composite
def grids(draw: st.DrawFn) -> tuple[Ints, Floats, Bools]:
    shape = draw(st.tuples(st.integers(0, 4), st.integers(0, 12)))
    times = draw(st.lists(st.integers(-(2**53), 2**53), min_size=shape[1], max_size=shape[1]))
    values = draw(arrays.arrays(np.float64, shape, elements=_FLOATS, fill=st.nothing()))
    return np.array(times, dtype=np.int64), values, draw(arrays.arrays(np.bool_, shape))


@given(grids())
def test_the_same_bytes(grid: tuple[Ints, Floats, Bools]) -> None:
    assert native.write_rows(*grid) == write_rows_in_python(*grid)


@given(grids())
def test_each_number_as_it_is_shown_alone(grid: tuple[Ints, Floats, Bools]) -> None:
    times, values, present = grid
    wanted = []
    for row, there in zip(values.tolist(), present.tolist(), strict=True):
        shown = [
            f'[{time_text(t)},"{float_text(v)}"]'
            for t, v, p in zip(times.tolist(), row, there, strict=True)
            if p
        ]
        wanted.append(f"[{','.join(shown)}]".encode() if shown else b"")
    assert native.write_rows(*grid) == wanted


def _same(values: Floats) -> None:
    times = np.zeros(len(values), dtype=np.int64)
    values = values[np.newaxis]
    present = np.ones(values.shape, dtype=bool)
    assert native.write_rows(times, values, present) == write_rows_in_python(times, values, present)


def test_powers_and_what_is_next_to_them() -> None:
    """Where the next smaller float is half as far, and where digits become more."""
    twos = np.ldexp(1.0, np.arange(-1_074, 1_024))
    tens = np.array([float(f"1e{power}") for power in range(-323, 309)])
    for powers in (twos, tens):
        for neighbour in (powers, np.nextafter(powers, 0), np.nextafter(powers, np.inf)):
            _same(neighbour)
            _same(-neighbour)


def test_many_random_floats() -> None:
    rng = np.random.default_rng(20)
    bits = rng.integers(0, 2**64, 200_000, dtype=np.uint64)
    _same(bits.view(np.float64))
    _same((bits >> np.uint64(12)).view(np.float64))  # subnormal
    _same(10 ** rng.uniform(-9, 24, 50_000))
    _same(rng.integers(0, 10**6, 50_000) / 10.0 ** rng.integers(0, 12, 50_000))


def test_more_points_than_are_written_at_a_time() -> None:
    rng = np.random.default_rng(21)
    values = rng.integers(0, 1_000, (700, 211)) / 30
    present = rng.random(values.shape) < 0.7
    present[5] = False
    times = 1_000 * np.arange(211)
    assert native.write_rows(times, values, present) == write_rows_in_python(times, values, present)


def test_any_layout() -> None:
    values = np.arange(12.0).reshape(3, 4).T[::-1]
    present = np.ones((3, 4), dtype=bool).T
    times = np.arange(6)[::2] * 500
    assert native.write_rows(times, values, present) == write_rows_in_python(times, values, present)


def test_shapes_that_do_not_fit() -> None:
    there = np.ones((2, 3), dtype=bool)
    for times, values, present in (
        (np.arange(2), np.zeros((2, 3)), there),
        (np.arange(3), np.zeros((3, 3)), there),
        (np.arange(3), np.zeros((2, 3)), there[:, :2]),
    ):
        with pytest.raises(ValueError, match="a row a series"):
            native.write_rows(times, values, present)


def test_what_is_compiled_is_what_writes() -> None:
    assert points.write_rows is native.write_rows


def test_without_it_the_definition_writes(tmp_path: Path) -> None:
    script = tmp_path / "without.py"
    script.write_text(
        "import sys\n"
        "sys.modules['shim.http._native.points'] = None\n"
        "from shim.http import points\n"
        "print(points.write_rows is points.write_rows_in_python)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env={"PYTHONPATH": str(root)}, check=True
    )
    assert json.loads(done.stdout.lower()) is True
