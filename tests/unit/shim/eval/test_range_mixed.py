"""Windows of floats and histograms of one series, against a plain walk through their samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from shim.eval.subquery import samples_from
from shim.eval.window.evaluate import range_function
from shim.eval.window.mixed import Combined, Neighbours
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model.grid import Grid
from shim.model.values import Annotations, Histogram, Scalar, Vector
from tests.unit.shim.eval.make import Cell, histogram, rows, vector

STEPS = 40
INNER = Grid(0, (STEPS - 1) * 10_000, 10_000)
OUTER = Grid(5_000, 430_000, 7_000)
WINDOW_MS = 60_000
ARGUMENTS = {
    "quantile_over_time": [0.5],
    "predict_linear": [60.0],
    "double_exponential_smoothing": [0.5, 0.5],
}

#: A float, a histogram's observations, or nothing.
Point = float | list[float] | None


def points(seed: int) -> list[Point]:
    rng = np.random.default_rng(seed)
    choices: list[Point] = [None, *(float(v) for v in range(4)), *([1.5] * n for n in range(1, 4))]
    return [choices[i] for i in rng.integers(0, len(choices), STEPS)]


def mixed(drawn: list[Point]) -> Vector:
    cells: list[Cell] = [p if isinstance(p, float) else None for p in drawn]
    return vector(
        {"m{a=1}": cells}, {"m{a=1}": histogram(*(p if isinstance(p, list) else None for p in drawn))}
    )


def run(name: str, drawn: list[Point]) -> tuple[Vector, Annotations]:
    notes = Annotations()
    args = [Scalar(np.full(OUTER.steps, a)) for a in ARGUMENTS.get(name, [])]
    return range_function(name, samples_from(mixed(drawn), INNER), OUTER, WINDOW_MS, args, notes), notes


def windows(drawn: list[Point]) -> list[list[tuple[float, float | list[float]]]]:
    """Return the samples of each window, with their times in seconds."""
    timed = [(t / 1000, p) for t, p in zip(INNER.times_ms.tolist(), drawn, strict=True) if p is not None]
    ends = (OUTER.times_ms / 1000).tolist()
    return [[(t, p) for t, p in timed if end - WINDOW_MS / 1000 < t <= end] for end in ends]


def plain(name: str, window: list[tuple[float, float | list[float]]]) -> Cell:
    if not window:
        return None
    values = [p for _, p in window]
    pairs = list(itertools.pairwise(values))
    match name:
        case "count_over_time":
            return float(len(values))
        case "present_over_time":
            return 1.0
        case "ts_of_first_over_time":
            return window[0][0]
        case "ts_of_last_over_time":
            return window[-1][0]
        case "changes":
            return float(sum(a != b for a, b in pairs))
    assert name == "resets"
    return float(sum(isinstance(a, float) != isinstance(b, float) or b < a for a, b in pairs))  # type: ignore[operator]


NUMBERS = sorted(n for n, f in RANGE_FUNCTIONS.items() if isinstance(f.mixed, Combined | Neighbours))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("seed", range(5))
def test_what_gives_one_number(name: str, seed: int) -> None:
    drawn = points(seed)
    found, notes = run(name, drawn)
    assert not found.histograms
    [row] = rows(found).values()
    assert row == [plain(name, window) for window in windows(drawn)]
    assert not notes.warnings
    assert not notes.infos


def shown(found: Vector) -> list[str]:
    """Whether each step has a float, a histogram or nothing."""
    present = np.asarray(found.present.any(axis=0))
    native: list[Histogram] = list(found.histograms)
    histograms = native[0].present if native else np.zeros(found.steps, dtype=bool)
    assert not (present & histograms).any()
    return ["float" if p else "histogram" if h else "" for p, h in zip(present, histograms, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_what_adds_up_refuses(seed: int) -> None:
    drawn = points(seed)
    for name, least in (
        ("sum_over_time", 1),
        ("avg_over_time", 1),
        ("rate", 2),
        ("increase", 2),
        ("delta", 2),
    ):
        found, notes = run(name, drawn)
        want = []
        for window in windows(drawn):
            kinds = {isinstance(p, float) for _, p in window}
            alone = len(kinds) == 1 and len(window) >= least
            want.append(("float" if True in kinds else "histogram") if alone else "")
        assert shown(found) == want, name
        assert any('mix of histograms and floats for metric name "m"' in text for text in notes.warnings)


@pytest.mark.parametrize("seed", range(5))
def test_what_takes_the_first_or_the_last(seed: int) -> None:
    drawn = points(seed)
    for name, which in (("last_over_time", -1), ("first_over_time", 0)):
        want = [
            "" if not w else "float" if isinstance(w[which][1], float) else "histogram"
            for w in windows(drawn)
        ]
        assert shown(run(name, drawn)[0]) == want, name
    for name in ("irate", "idelta"):
        want = []
        for window in windows(drawn):
            kinds = {isinstance(p, float) for _, p in window[-2:]}
            one = len(window) >= 2 and len(kinds) == 1
            want.append(("float" if True in kinds else "histogram") if one else "")
        assert shown(run(name, drawn)[0]) == want, name


@pytest.mark.parametrize("name", ["max_over_time", "quantile_over_time", "deriv", "stddev_over_time"])
def test_what_knows_floats_says_that_histograms_are_left_out(name: str) -> None:
    found, notes = run(name, points(1))
    assert not found.histograms
    assert any(text.startswith("PromQL info: ignored histograms in a range") for text in notes.infos)
