"""The SQL of `meterhouse verify`: equal quantities of two rollups, and rows without catalog rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import msgspec

from indexer.clickhouse.granularities import GRANULARITIES, Granularity
from indexer.clickhouse.schema.metric_types import METRIC_TYPES, Kind, StateColumn

#: A statement that needs more memory to group continues on disk.
_BOUNDED: Final = " SETTINGS max_bytes_before_external_group_by = 256000000, max_threads = 2"
#: Strings of the catalog looked up per statement.
STRINGS_A_TURN: Final = 2_000_000
#: Sums of the same values in another order differ by less than this fraction.
_NEAR: Final = 1e-9


class RollupPair(msgspec.Struct, frozen=True):
    """A rollup and the finer one that it is derived from."""

    finer: Granularity
    coarser: Granularity


PAIRS: Final = tuple(RollupPair(f, c) for f, c in pairwise(GRANULARITIES))


class Quantity(msgspec.Struct, frozen=True):
    """A number that must be equal in both. `scale`: the size of the summed values; empty for exact ones."""

    name: str
    sql: str
    scale: str = ""


def _total(name: str, sql: str) -> Quantity:
    return Quantity(name, f"sum({sql})", f"sum(abs({sql}))")


def _quantity(column: StateColumn) -> Quantity:
    """Return the quantity that is compared for a stored column, by how it merges."""
    match column.merge:
        case "sum":
            return _total(column.name, column.name)
        case "sumMap":
            return _total(column.name, f"arraySum(mapValues({column.name}))")
        case "uniqCombined64":
            return Quantity(column.name, f"toFloat64(sum({column.name}_of_series))")
        case "max" if column.type.startswith("Tuple("):  # a value with its time
            time = f"toUnixTimestamp64Milli(tupleElement({column.name}, 1))"
            return Quantity(f"{column.name}_ms", f"toFloat64(max({time}))")
        case _:
            return Quantity(column.name, f"{column.merge}({column.name})")


def _rank(column: StateColumn) -> int:
    """Return the rank of a column among those compared: counts come first, extremes last."""
    if column.name == "count":
        return 0
    return _RANKS.index("last" if column.type.startswith("Tuple(") else str(column.merge))


_RANKS: Final = ("", "sum", "sumMap", "uniqCombined64", "last", "min", "max")
_QUANTITIES: Final[Mapping[Kind, tuple[Quantity, ...]]] = {
    t.kind: tuple(map(_quantity, sorted(t.state, key=_rank))) for t in METRIC_TYPES
}
#: The quantity of which a cell of the coarser rollup has at most as much as the finer one that lost rows.
_MONOTONE: Final[Mapping[Kind, str]] = {
    "counters": "sumIf(value, side = {side})",
    "gauges": "sumIf(count, side = {side})",
    "distributions": "sumIf(count, side = {side})",
    "sets": "toFloat64(uniqCombined64MergeIf(members, side = {side}))",
}
_KEY: Final = "org_id, project_id, metric_id"


def quantities(kind: Kind, *, short: bool = False) -> tuple[Quantity, ...]:
    """Return the compared quantities of a kind, cells (series and buckets) first; `short`: without cells."""
    if short:
        return _QUANTITIES[kind]
    return (
        Quantity("cells", "toFloat64(sum(cells_of_series))" if kind == "sets" else ""),
        *_QUANTITIES[kind],
    )


def live(first_day: int, end_day: int, until_s: int, today: int) -> str:
    """Return the condition of rows of these days that no rollup may have dropped yet."""
    end_s = min(end_day * 86_400, until_s)
    return (
        f"timestamp >= toDateTime({first_day * 86_400}, 'UTC') AND timestamp < toDateTime({end_s}, 'UTC')"
        f" AND toUInt32(toDate(timestamp)) + retention_days > {today + 1}"
    )


def compare(
    kind: Kind, granularity: Granularity, seconds: int, where: str, *, by_metric: bool, short: bool = False
) -> str:
    """Return the statement of day, metric, and each quantity with its scale.

    `seconds` are those of the coarser rollup, whose cells are counted in both.
    """
    table = f"{kind}_{granularity.name}"
    keys = f"day, {_KEY}" if by_metric else "day, 0, 0, 0"
    group = f"day, {_KEY}" if by_metric else "day"
    day = "toUInt32(toDate(timestamp)) AS day"
    cells = f"uniqCombined64(cityHash64({_KEY}, series_id, intDiv(toUInt32(timestamp), {seconds})))"
    source = f"(SELECT *, {day} FROM {table} WHERE {where})"
    if kind == "sets":
        source = (
            f"(SELECT {day}, {_KEY}, {cells} AS cells_of_series,"
            f" uniqCombined64Merge(members) AS members_of_series"
            f" FROM {table} WHERE {where} GROUP BY day, {_KEY}, series_id)"
        )
    asked = [(q.sql or f"toFloat64({cells})", q.scale or "0.0") for q in quantities(kind, short=short)]
    listed = ", ".join(f"{sql} AS q{n}, {scale} AS s{n}" for n, (sql, scale) in enumerate(asked))
    return f"SELECT {keys}, {listed} FROM {source} GROUP BY {group} ORDER BY {group}{_BOUNDED}"


def excess(kind: Kind, pair: RollupPair, where: str) -> str:
    """Return the statement that counts cells which the finer rollup lacks or has less in."""
    sides = " UNION ALL ".join(
        f"SELECT *, {side} AS side FROM {kind}_{g.name} WHERE {where}"
        for side, g in enumerate((pair.finer, pair.coarser))
    )
    finer, coarser = (_MONOTONE[kind].format(side=side) for side in (0, 1))
    return (
        f"SELECT count() FROM (SELECT countIf(side = 0) AS rows_finer, countIf(side = 1) AS rows_coarser,"
        f" {finer} AS finer, {coarser} AS coarser FROM ({sides})"
        f" GROUP BY {_KEY}, series_id, intDiv(toUInt32(timestamp), {pair.coarser.seconds}))"
        f" WHERE rows_coarser > 0 AND (rows_finer = 0 OR coarser > finer + {_NEAR} * abs(finer)){_BOUNDED}"
    )


def samples_without_series(kind: Kind, day: int, where: str) -> str:
    """Return the statement of metrics with samples on a day whose series are not in `series`."""
    return (
        f"SELECT {_KEY}, toUInt64(uniqExact(series_id)) FROM {kind}_1d WHERE {where}"
        f" AND ({_KEY}, series_id) GLOBAL NOT IN"
        f" (SELECT {_KEY}, series_id FROM series WHERE toUInt32(day) = {day})"
        f" GROUP BY {_KEY} ORDER BY {_KEY}{_BOUNDED}"
    )


def series_without_strings(month: int, turn: int, turns: int) -> str:
    """Return the statement of metrics with series whose name or tags are not in `strings`."""
    ids = "arrayJoin(arrayDistinct(arrayConcat([metric_id], tag_keys, tag_values))) AS id"
    return (
        f"SELECT {_KEY}, toUInt64(uniqExact(series_id)) FROM"
        f" (SELECT {_KEY}, series_id, {ids} FROM series WHERE toYYYYMM(day) = {month})"
        f" WHERE id % {turns} = {turn} AND (org_id, id) GLOBAL NOT IN"
        f" (SELECT org_id, id FROM strings WHERE id % {turns} = {turn})"
        f" GROUP BY {_KEY} ORDER BY {_KEY}{_BOUNDED}"
    )
