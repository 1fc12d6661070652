"""The aggregate functions of SnQL, and the columns of each stored type that they take. Pure.

ClickHouse's combinators are part of a name: `sumMerge` is `sum` of a stored state, `sumIf` has one
condition more as its last argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shim.catalog.types import Kind

_NAME: Final = re.compile(r"(sum|count|avg|min|max|last|uniq|uniqCombined64|quantiles|quantile)(Merge)?(If)?")
_ANY_VALUE: Final = frozenset({"value", "values"})
#: By type and function: the columns that may be its argument.
COLUMNS: Final[Mapping[Kind, Mapping[str, frozenset[str]]]] = {
    "counter": {"sum": frozenset({"value"})},
    "histogram": {
        **{name: _ANY_VALUE | {name} for name in ("sum", "count", "avg", "min", "max")},
        **{name: _ANY_VALUE | {"percentiles"} for name in ("quantile", "quantiles")},
    },
    "set": {"uniq": frozenset({"value"})},
    "gauge": {name: _ANY_VALUE | {name} for name in ("last", "min", "max", "avg", "sum", "count")},
}
#: Where a metric of one name has several types, the first of these that a function is for answers.
PREFERRED: Final[tuple[Kind, ...]] = ("counter", "histogram", "set", "gauge")
#: Aggregates that are a number for no rows; others are NULL.
EMPTY: Final[Mapping[str, float]] = {"sum": 0.0, "count": 0.0, "uniq": 0.0}


@dataclass(frozen=True, slots=True)
class AggregateName:
    """A function's name, taken apart."""

    function: str
    conditional: bool


@dataclass(frozen=True, slots=True)
class Measure:
    """One aggregate of stored buckets. `levels`: of quantiles."""

    function: str
    levels: tuple[float, ...] = ()

    def __str__(self) -> str:
        levels = f"({', '.join(f'{q:g}' for q in self.levels)})" if self.levels else ""
        return f"{self.function}{levels}"


def aggregate_name(name: str) -> AggregateName | None:
    """Return the aggregate that a function's name means; None for other functions."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    function = "uniq" if found[1] == "uniqCombined64" else found[1]
    return AggregateName(function, found[3] is not None)


def kinds_of(function: str) -> tuple[Kind, ...]:
    """List the stored types that a function is for, the preferred one first."""
    return tuple(kind for kind in PREFERRED if function in COLUMNS[kind])
