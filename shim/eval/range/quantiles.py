"""quantile_over_time, of samples and of observations; NaN counts as the smallest value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from shim.eval.aggregation.quantiles import note_invalid_quantile
from shim.eval.broadcast import repeated_histogram
from shim.eval.histogram.quantile import observations_quantile
from shim.eval.numerics import row_quantile
from shim.eval.window.function import RangeFunction, WindowCells
from shim.eval.window.stored import DistributionColumn, FromObservations, Observations
from shim.model.values import Annotations, Floats, Scalar

#: Columns that the quantile of observations needs.
COLUMNS: Final[tuple[DistributionColumn, ...]] = ("count", "sum", "zero", "min", "max")


def _quantile(cells: WindowCells) -> Floats:
    q, values = cells.parameters[0], cells.samples.values
    return cells.by_block(lambda block: row_quantile(q[block.cells], block.values(values), block.valid))


def quantile_of_observations(windows: Observations, q: Floats) -> Floats:
    """Return the quantile `q`, one per step, of the observations in each window: `(keys, steps)`."""
    low, high = windows.minima("min"), windows.maxima("max")
    values = np.zeros((len(low), len(q)))
    for k, h in enumerate(windows.histograms()):
        windows.take(h.buckets * len(q))
        wide = repeated_histogram(h, len(q))
        values[k] = observations_quantile(
            q, wide, np.broadcast_to(low[k], q.shape), np.broadcast_to(high[k], q.shape)
        )
    return values


def _check(parameters: Sequence[Floats], notes: Annotations) -> None:
    note_invalid_quantile(Scalar(parameters[0]), notes.argument(0))


FUNCTIONS = (
    RangeFunction(
        "quantile_over_time",
        "The quantile of the values; the first argument is between 0 and 1",
        _quantile,
        args=("scalar", "matrix"),
        check=_check,
        distribution=FromObservations(
            COLUMNS, lambda windows: quantile_of_observations(windows, windows.parameters[0])
        ),
    ),
)
