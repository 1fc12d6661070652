"""Columns of values, which expressions are evaluated over: those of series, those of rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

ColumnType = Literal["UInt64", "UInt8", "Float64", "String", "DateTime", "Array(Float64)"]
NUMERIC: Final = frozenset({"UInt64", "UInt8", "Float64", "DateTime"})


class ColumnTypeError(ValueError):
    """A function's argument is of a type that it does not take."""


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """Values of one type. NULL is NaN in a Float64 and None elsewhere; a DateTime is Unix seconds."""

    type: ColumnType
    values: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.values)

    def floats(self) -> npt.NDArray[np.float64]:
        """Return the numbers. Raises ColumnTypeError for texts and lists."""
        if self.type not in NUMERIC:
            raise ColumnTypeError(f"a {self.type}: expected a number")
        if self.values.dtype == object:
            return np.array(
                [np.nan if v is None else float(v) for v in self.values.tolist()], dtype=np.float64
            )
        return self.values.astype(np.float64, copy=False)

    def truths(self) -> npt.NDArray[np.bool_]:
        """Return which values are true: numbers but 0 and NULL."""
        numbers = self.floats()
        return np.asarray((numbers != 0) & ~np.isnan(numbers))

    def take(self, rows: npt.NDArray[Any]) -> ResultColumn:
        """Return some of the rows."""
        return ResultColumn(self.type, self.values[rows])

    def ranks(self) -> npt.NDArray[Any]:
        """Return numbers that sort as the values do; NULL sorts last."""
        if self.type in NUMERIC and self.values.dtype != object:
            return self.values
        values = self.values.tolist()
        order = {v: i for i, v in enumerate(sorted({v for v in map(_sortable, values) if v is not None}))}
        return np.array([order.get(_sortable(v), len(order)) for v in values], dtype=np.float64)


def _sortable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def objects(values: Sequence[Any]) -> npt.NDArray[Any]:
    """Make an array of Python objects, lists among them."""
    out = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        out[i] = value
    return out


def texts(values: Sequence[str]) -> ResultColumn:
    """Make a column of texts."""
    return ResultColumn("String", objects(values))


def flags(values: npt.NDArray[Any]) -> ResultColumn:
    """Make a column of 1 and 0."""
    return ResultColumn("UInt8", np.asarray(values, dtype=bool).astype(np.uint8))


def constant(value: float | str | bool | None, rows: int) -> ResultColumn:
    """Make a column of one value."""
    if isinstance(value, str):
        return texts([value] * rows)
    if isinstance(value, bool):
        return flags(np.full(rows, value))
    if value is None:
        return ResultColumn("Float64", np.full(rows, np.nan))
    if isinstance(value, int) and value >= 0:
        return ResultColumn("UInt64", objects([value] * rows))
    return ResultColumn("Float64", np.full(rows, float(value)))
