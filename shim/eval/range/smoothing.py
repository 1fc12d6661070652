"""double_exponential_smoothing (formerly holt_winters).

Each sample's result needs the one before it, so this loops over the samples of the windows, all cells of a
block at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim.eval.sample_windows import Block
from shim.eval.window.function import RangeFunction, WindowCells
from shim.model.errors import ExecutionError
from shim.model.values import Annotations, Floats


def _smooth(cells: WindowCells) -> Floats:
    return cells.by_block(lambda block: _smoothed(cells, block))


def _smoothed(cells: WindowCells, block: Block) -> Floats:
    values = block.values(cells.samples.values)
    smoothing, trending = (p[block.cells] for p in cells.parameters)
    level, trend = values[:, 0], values[:, 1] - values[:, 0]
    before = np.zeros(len(level))
    for i in range(1, values.shape[1]):
        here = block.valid[:, i]
        if i > 1:
            trend = np.where(here, trending * (level - before) + (1 - trending) * trend, trend)
        following = smoothing * values[:, i] + (1 - smoothing) * (level + trend)
        before, level = np.where(here, level, before), np.where(here, following, level)
    return level


def _check(parameters: Sequence[Floats], notes: Annotations) -> None:
    del notes
    for values, name, sign in zip(parameters, ("smoothing", "trend"), ("sf", "tf"), strict=True):
        wrong = values[(values <= 0) | (values >= 1)]
        if len(wrong):
            text = f"invalid {name} factor. Expected: 0 < {sign} < 1, got: {float(wrong[0]):f}"
            raise ExecutionError(text)


FUNCTIONS = (
    RangeFunction(
        "double_exponential_smoothing",
        "The value after smoothing with a smoothing and a trend factor",
        _smooth,
        min_samples=2,
        args=("matrix", "scalar", "scalar"),
        experimental=True,
        check=_check,
    ),
)
