"""The metric types: the columns of each as inserted and as stored, and how stored values merge.

One record per type; tables, views, frames' columns and readers ask the record. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, cast

import msgspec

from indexer.clickhouse.schema.columns import FLOAT, Column

Kind = Literal["counters", "gauges", "distributions", "sets"]
#: How float values of one bucket merge.
FloatMerge = Literal["sum", "min", "max"]

#: Types of input columns as NumPy has them; of arrays, the type of their elements.
_DTYPES: Final[Mapping[str, str]] = {
    "Float64": "<f8",
    "Int64": "<i8",
    "Array(Int32)": "<i4",
    "Array(Float64)": "<f8",
    "Array(UInt64)": "<u8",
}


class InputColumn(msgspec.Struct, frozen=True):
    """A column of a frame and of the input table. `length`: the frame's column of an array's lengths."""

    name: str
    type: str
    length: str = ""

    @property
    def dtype(self) -> str:
        """The NumPy type of its values, or of an array's elements."""
        return _DTYPES[self.type]


class StateColumn(Column, frozen=True):
    """A stored column of a rollup. `source`: its SQL over input columns; empty: the one of its name."""

    source: str = ""


class MetricType(msgspec.Struct, frozen=True):
    """One metric type. `kind` names its tables; `number` and `name` are those of the column `type`.

    The number is also mixed into series ids, so it never changes.
    """

    kind: Kind
    name: str
    number: int
    input: tuple[InputColumn, ...]
    state: tuple[StateColumn, ...]


def _floats(*names: str) -> tuple[InputColumn, ...]:
    return tuple(InputColumn(name, "Float64") for name in names)


def _sum(name: str) -> StateColumn:
    return StateColumn(name, "Float64", FLOAT, merge="sum")


_MIN_MAX: Final = (
    StateColumn("min", "Float64", FLOAT, merge="min"),
    StateColumn("max", "Float64", FLOAT, merge="max"),
)


def _sketch_side(side: str) -> StateColumn:
    source = f"mapFromArrays({side}_index, {side}_count)"
    return StateColumn(side, "Map(Int32, Float64)", "ZSTD(1)", merge="sumMap", source=source)


METRIC_TYPES: Final = (
    MetricType("counters", "counter", 1, input=_floats("value"), state=(_sum("value"),)),
    MetricType(
        "gauges",
        "gauge",
        2,
        input=(InputColumn("last_ms", "Int64"), *_floats("last", "min", "max", "sum", "count")),
        state=(
            StateColumn(
                "last",
                "Tuple(DateTime64(3, 'UTC'), Float64)",
                "ZSTD(1)",
                merge="max",
                source="(fromUnixTimestamp64Milli(last_ms, 'UTC'), last)",
            ),
            *_MIN_MAX,
            _sum("sum"),
            _sum("count"),
        ),
    ),
    MetricType(
        "distributions",
        "histogram",
        3,
        input=(
            InputColumn("positive_index", "Array(Int32)", "positive_length"),
            InputColumn("positive_count", "Array(Float64)", "positive_length"),
            InputColumn("negative_index", "Array(Int32)", "negative_length"),
            InputColumn("negative_count", "Array(Float64)", "negative_length"),
            *_floats("zero", "count", "sum", "sum_squares", "min", "max"),
        ),
        state=(
            _sketch_side("positive"),
            _sketch_side("negative"),
            _sum("zero"),
            _sum("count"),
            _sum("sum"),
            _sum("sum_squares"),
            *_MIN_MAX,
        ),
    ),
    MetricType(
        "sets",
        "set",
        4,
        input=(InputColumn("member", "Array(UInt64)", "length"),),
        state=(
            StateColumn(
                "members",
                "UInt64",
                "ZSTD(1)",
                merge="uniqCombined64",
                source="arrayReduce('uniqCombined64State', member)",
            ),
        ),
    ),
)

KINDS: Final[tuple[Kind, ...]] = tuple(t.kind for t in METRIC_TYPES)
BY_KIND: Final[Mapping[Kind, MetricType]] = {t.kind: t for t in METRIC_TYPES}
#: Type of the column `type` in the table `series`.
SERIES_TYPE: Final = "Enum8({})".format(", ".join(f"'{t.name}' = {t.number}" for t in METRIC_TYPES))
#: How the stored floats merge, by column; a column of one name merges alike in every type.
FLOAT_MERGES: Final[Mapping[str, FloatMerge]] = {
    c.name: cast("FloatMerge", c.merge) for t in METRIC_TYPES for c in t.state if c.type == "Float64"
}
