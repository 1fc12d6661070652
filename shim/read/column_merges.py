"""How the values of a stored column merge, as NumPy does it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from indexer.clickhouse.schema.metric_types import FLOAT_MERGES, FloatMerge
from shim.model.values import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class ColumnMerge:
    """The function that merges two values, and the value of cells without rows (it loses to any other)."""

    ufunc: np.ufunc
    empty: float

    def cells(self, shape: tuple[int, ...]) -> Floats:
        """Return cells without rows."""
        return np.zeros(shape) if self.empty == 0.0 else np.full(shape, self.empty)

    def where(self, rows: Bools, values: Floats) -> Floats:
        """Return values of cells, the empty one where there are no rows; ClickHouse's sums of none are 0."""
        return values if self.empty == 0.0 else np.where(rows, values, self.empty)


MERGES: Final[Mapping[FloatMerge, ColumnMerge]] = {
    "sum": ColumnMerge(np.add, 0.0),
    "min": ColumnMerge(np.fmin, np.nan),
    "max": ColumnMerge(np.fmax, np.nan),
}


def merge_of(column: str) -> ColumnMerge:
    """Return how a column merges."""
    return MERGES[FLOAT_MERGES[column]]


def merged(shape: tuple[int, ...], place: Ints, values: Floats, merge: ColumnMerge) -> Floats:
    """Return cells of the values, each at a place in their flat order; values of one place merge."""
    if merge.ufunc is np.add:
        return np.asarray(np.bincount(place, values, math.prod(shape)), dtype=np.float64).reshape(shape)
    cells = merge.cells(shape)
    merge.ufunc.at(cells.reshape(-1), place, values)
    return cells
