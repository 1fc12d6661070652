"""Cells out of a rollup table: one statement for all cells of a window plan, summed per key in ClickHouse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from indexer.clickhouse.native_format import varuint_bytes
from indexer.clickhouse.schema.metric_types import FLOAT_MERGES
from shim.catalog.types import Part
from shim.model.values import Bools, Floats, Ints
from shim.read.column_merges import merge_of, merged
from shim.read.key_conditions import within
from shim.read.raw_rows import is_small, read_rows
from shim.read.reader import Keys, Reader, singly
from shim.read.series_slices import slices
from shim.read.window_plan import Stitch, UniformCells, WindowPlan
from shim.sql import nodes as sql

#: Cells at most of one array in ClickHouse's -Resample (MAX_ELEMENTS there), and of all arrays together:
#: each takes 10 bytes there, and as many again on the way.
_MOST_RESAMPLED: Final = 1 << 20
_MOST_CELLS: Final = 1 << 22
#: Rows at most that are fetched as they are: each takes 20 bytes on the way, twice, and 30 here.
_MOST_PLAIN: Final = 1 << 21


@dataclass(frozen=True, slots=True)
class KeyedCells:
    """Stored state per key and cell; `values[column]` is (keys, cells), 0 (min and max: NaN) where empty."""

    values: Mapping[str, Floats]
    rows: Bools  # (keys, cells): a row counts for the value
    alive: Bools  # (keys, cells): a row says that the series is alive


def read_cells(
    reader: Reader, table: str, part: Part, keys: Keys, reading: WindowPlan, columns: tuple[str, ...]
) -> KeyedCells:
    """Return the cells of a plan, read by one statement. Raises QueryError.

    It has four equivalent forms. Few rows are added up here (raw_rows.py), and so are many if there are
    nearly as many cells as rows. Otherwise ClickHouse adds up: into one array per key if those are dense,
    which saves the hashing, or into one row per key and cell.
    """
    reader.check_reading(len(keys), reading, len(columns))
    if keys.group is None and not keys.everything:
        found = [
            _read(reader, table, some, Keys(keys.labels[here]), reading, columns)
            for here, some in slices(part, max(reading.cells, _buckets(reading)), reader.slice_cells)
        ]
        return found[0] if len(found) == 1 else _stacked(found)
    return _read(reader, table, part, keys, reading, columns)


def _stacked(found: Sequence[KeyedCells]) -> KeyedCells:
    """Join the cells of slices of the series."""
    rows = np.concatenate([cells.rows for cells in found])
    alone = all(cells.alive is cells.rows for cells in found)
    alive = rows if alone else np.concatenate([cells.alive for cells in found])
    values = {name: np.concatenate([cells.values[name] for cells in found]) for name in found[0].values}
    return KeyedCells(values, rows, alive)


def _buckets(reading: WindowPlan) -> int:
    """Return how many rows one series can have in buckets that are merged."""
    run = reading.run
    buckets = 0 if run is None else run.cells * (run.size_s // run.granularity_s)
    return buckets + sum((s.hi_s - s.lo_s) // s.granularity_s for s in reading.segments if s.lo_s > 0)


def _read(
    reader: Reader, table: str, part: Part, keys: Keys, reading: WindowPlan, columns: tuple[str, ...]
) -> KeyedCells:
    if not keys.everything:
        if is_small(reader, part, reading):
            return KeyedCells(*read_rows(reader, table, part, keys, reading, columns))
        if _as_plain(reader, part, keys, reading):
            return _read_plain(reader, table, part, keys, reading, columns)
        if _as_blocks(keys, reading):
            return _read_blocks(reader, table, part, keys, reading, columns)
    return _read_hashed(reader, table, part, keys, reading, columns)


# ---------------------------------------------------------------- rows as they are


def _as_plain(reader: Reader, part: Part, keys: Keys, reading: WindowPlan) -> bool:
    """Return whether there are about as many cells as rows, so that ClickHouse would merge little."""
    run = reading.run
    if run is None or _flagged(reading):
        return False
    buckets = run.cells * (run.size_s // run.granularity_s)
    buckets += sum((s.hi_s - s.lo_s) // s.granularity_s for s in reading.segments)
    rows, cells = len(part.series_ids) * buckets, len(keys) * reading.cells
    if _hashes(keys, reading):
        cells *= 2  # to hash costs, too
    # Twice that many rows may come, of buckets that are not merged yet.
    return rows <= min(cells, _MOST_PLAIN, reader.max_rows // 2)


def _hashes(keys: Keys, reading: WindowPlan) -> bool:
    """Return whether ClickHouse would have to hash (key, cell); up to 16 bits it looks them up."""
    return keys.group is None or keys.high_type(_cell_bits(reading)) == "UInt32"


def _read_plain(
    reader: Reader, table: str, part: Part, keys: Keys, reading: WindowPlan, columns: tuple[str, ...]
) -> KeyedCells:
    """Read series, cell and columns of every row, in columns; they come in runs of one series."""
    names = ("k", "c", *columns)
    raw = tuple(sql.Named(sql.col(c), c) for c in columns)
    source = member_rows(reader, table, part, singly(part), reading, raw, packed=False)
    query = _flat(sql.Query(tuple(sql.Named(sql.col(name), name) for name in names), source))
    fetched = reader.columns(query, [("k", "<u8"), ("c", "<u4"), *((c, "<f8") for c in columns)])
    starts = np.flatnonzero(np.diff(fetched["k"], prepend=~fetched["k"][:1]))
    key, known = singly(part).index(part, fetched["k"][starts])
    if keys.group is not None:
        key = keys.group[key]
    lengths = np.diff(starts, append=len(fetched["k"]))
    place = np.repeat(key * reading.cells, lengths) + fetched["c"]
    if not known.all():
        rows_known = np.repeat(known, lengths)
        place = place[rows_known]
        fetched = {name: column[rows_known] for name, column in fetched.items()}
    shape = (len(keys), reading.cells)
    rows = np.zeros(shape, dtype=bool)
    rows.reshape(-1)[place] = True
    values: dict[str, Floats] = {}
    for column in columns:
        values[column] = merged(shape, place, fetched[column], merge_of(column))
    return KeyedCells(values, rows, rows)


# ---------------------------------------------------------------- one row a key


def _as_blocks(keys: Keys, reading: WindowPlan) -> bool:
    """Return whether ClickHouse merges into one array per key: a hash table of (key, cell) is large."""
    if _flagged(reading) or not 1 < reading.cells <= _MOST_RESAMPLED:
        return False
    return _hashes(keys, reading) and len(keys) * reading.cells <= _MOST_CELLS


def _read_blocks(
    reader: Reader, table: str, part: Part, keys: Keys, reading: WindowPlan, columns: tuple[str, ...]
) -> KeyedCells:
    """Read one row per key: an array over all cells for each column, and one of which have rows."""
    source = member_rows(
        reader, table, part, keys, reading, tuple(sql.Named(sql.col(c), c) for c in columns), packed=False
    )
    over = (0, reading.cells, 1)
    merged = [
        sql.Named(sql.Func(f"{FLOAT_MERGES[c]}Resample", (sql.col(c), sql.col("c")), over), f"{c}_out")
        for c in columns
    ]
    one = sql.call("toUInt8", 1)
    found = sql.Named(sql.Func("maxResample", (one, sql.col("c")), over), "h")
    query = _flat(sql.Query((sql.Named(sql.col("k"), "k"), *merged, found), source, group_by=("k",)))
    size = f"V{varuint_bytes(reading.cells)}"  # RowBinary: an array begins with its length
    arrays = [(column, "<f8", (reading.cells,)) for column in columns]
    fields: list[Any] = [("k", "<u8")]
    for i, array in enumerate([*arrays, ("h", "?", (reading.cells,))]):
        fields += [(f"size{i}", size), array]
    fetched = reader.fetch(query, fields, lambda rows: int(np.count_nonzero(rows["h"])))
    key, known = keys.index(part, fetched["k"])
    key, fetched = key[known], fetched[known]
    rows = np.zeros((len(keys), reading.cells), dtype=bool)
    rows[key] = fetched["h"]
    values = {}
    for column in columns:
        values[column] = merge_of(column).cells(rows.shape)
        values[column][key] = merge_of(column).where(fetched["h"], fetched[column])
    return KeyedCells(values, rows, rows)


# ---------------------------------------------------------------- one row a key and cell


def _read_hashed(
    reader: Reader, table: str, part: Part, keys: Keys, reading: WindowPlan, columns: tuple[str, ...]
) -> KeyedCells:
    flagged = _flagged(reading)
    fetched = reader.fetch(
        _query(reader, table, part, keys, reading, columns), _dtype(keys, reading, columns)
    )
    at, known = _places(part, keys, reading, fetched)
    fetched = fetched[known]
    shape = (len(keys), reading.cells)
    rows, alive = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    rows[at] = fetched["h"] if flagged else True
    alive[at] = fetched["a"] if flagged else True
    values = {}
    for column in columns:
        found, merge = fetched[column], merge_of(column)
        values[column] = merge.cells(shape)
        values[column][at] = merge.where(fetched["h"] != 0, found) if flagged else found
    return KeyedCells(values, rows, alive)


def _places(
    part: Part, keys: Keys, reading: WindowPlan, fetched: npt.NDArray[np.void]
) -> tuple[tuple[Ints, Ints], Bools]:
    """Return (key, cell) of each row that belongs to a known key, and which rows those are."""
    if keys.group is not None:
        bits = _cell_bits(reading)
        known = fetched["x"] < len(keys) << bits
        packed = fetched["x"][known].astype(np.int64)
        return (packed >> bits, packed & ((1 << bits) - 1)), known
    key, known = keys.index(part, fetched["k"])
    return (key[known], fetched["c"][known].astype(np.int64)), known


def member_rows(
    reader: Reader,
    table: str,
    part: Part,
    keys: Keys,
    reading: WindowPlan,
    columns: tuple[sql.Named, ...],
    *,
    packed: bool = False,
) -> sql.Union | sql.Query:
    """Select rows with their key `k`, cell `c`, flags `h` and `a` where needed, and `columns`.

    `packed`: the keys of groups leave their low bits for the cell.
    """
    key = sql.Named(keys.high_bits(part, _cell_bits(reading)) if packed else keys.expr(part), "k")
    flagged = _flagged(reading)
    members = [
        sql.Query(
            (key, sql.Named(sql.call("toUInt32", cell), "c"), *(flags if flagged else ()), *columns),
            reader.source(table, granularity_s),
            where=(*reader.conditions(part), *where),
        )
        for granularity_s, cell, flags, where in _members(reading)
    ]
    return members[0] if len(members) == 1 else sql.Union(tuple(members))


def _query(
    reader: Reader, table: str, part: Part, keys: Keys, reading: WindowPlan, columns: tuple[str, ...]
) -> sql.Query:
    flagged = _flagged(reading)
    raw = tuple(sql.Named(sql.col(c), c) for c in columns)
    # Groups: one small number says key and cell, which makes for a smaller and faster hash table.
    packed = keys.group is not None
    if packed:
        kind = keys.high_type(_cell_bits(reading))
        place = sql.call("bitOr", "k", "c")
        out = [sql.Named(place if kind == "UInt32" else sql.call(f"to{kind}", place), "x")]
    else:
        out = [sql.Named(sql.col("k"), "k"), sql.Named(sql.col("c"), "c")]
    if flagged:
        out += [sql.Named(sql.call("max", f), f"{f}_max") for f in ("h", "a")]
    for column in columns:
        merge = sql.call(FLOAT_MERGES[column], column)
        if flagged:
            merge = sql.call(FLOAT_MERGES[column] + "If", column, "h")
        out.append(sql.Named(sql.call("toFloat64", merge), f"{column}_out"))
    source = member_rows(reader, table, part, keys, reading, raw, packed=packed)
    query = sql.Query(tuple(out), source, group_by=("x",) if packed else ("k", "c"))
    return query if flagged else _flat(query)


def _flat(query: sql.Query) -> sql.Query:
    """Return the query without its inner SELECT: planning one level less saves much of a small query."""
    inner = query.source
    if not isinstance(inner, sql.Query):
        return query
    exprs = {column.alias: column.expr for column in inner.columns}
    columns = tuple(sql.Named(_put(column.expr, exprs), column.alias) for column in query.columns)
    return sql.Query(columns, inner.source, inner.where, query.group_by)


def _put(expr: sql.Expr, exprs: Mapping[str, sql.Expr]) -> sql.Expr:
    """Substitute expressions for the columns of an expression."""
    if isinstance(expr, sql.Column):
        return exprs[expr.name]
    if isinstance(expr, sql.Func):
        return replace(expr, args=tuple(_put(a, exprs) for a in expr.args))
    return expr


def _dtype(keys: Keys, reading: WindowPlan, columns: tuple[str, ...]) -> np.dtype[np.void]:
    if keys.group is None:
        place = [("k", "<u8"), ("c", "<u4")]
    else:
        place = [("x", {"UInt16": "<u2", "UInt32": "<u4"}[keys.high_type(_cell_bits(reading))])]
    flags = [("h", "u1"), ("a", "u1")] if _flagged(reading) else []
    return np.dtype([*place, *flags, *((c, "<f8") for c in columns)])


def _cell_bits(reading: WindowPlan) -> int:
    """Return how many bits hold the number of a cell."""
    return max(1, (reading.cells - 1).bit_length())


def _flagged(reading: WindowPlan) -> bool:
    return reading.run is not None and reading.run.alive_s > 0


_Member = tuple[int, sql.Expr, tuple[sql.Named, ...], tuple[sql.Expr, ...]]


def _members(reading: WindowPlan) -> list[_Member]:
    """Return (granularity, cell, flags, conditions) of each SELECT; together they read the cells."""
    run = [] if reading.run is None else [_of_run(reading.run)]
    return [*run, *(_of_segment(s) for s in reading.segments)] or [_nothing()]


def _of_run(run: UniformCells) -> _Member:
    since = sql.op("-", sql.call("toUInt32", "timestamp"), run.origin_s)
    cell: sql.Expr = sql.call("intDiv", since, run.size_s)
    where = within(run.granularity_s, run.origin_s, run.origin_s + run.cells * run.size_s)
    if run.alive_s == 0:
        return run.granularity_s, cell, (), tuple(where)
    position = sql.op("%", since, run.size_s)
    if run.keep_s:
        where.append(sql.op(">=", position, run.size_s - run.keep_s))
    flags = tuple(
        sql.Named(sql.call("toUInt8", sql.op(">=", position, run.size_s - seconds)), name)
        for name, seconds in (("h", run.value_s or run.size_s), ("a", run.alive_s))
    )
    return run.granularity_s, cell, flags, tuple(where)


def _of_segment(segment: Stitch) -> _Member:
    one = sql.call("toUInt8", 1)
    flags = (sql.Named(one, "h"), sql.Named(one, "a"))
    where = tuple(within(segment.granularity_s, segment.lo_s, segment.hi_s))
    return segment.granularity_s, sql.Int(segment.cell), flags, where


def _nothing() -> _Member:
    """Return an empty member (a running total before 1970)."""
    return _of_segment(Stitch(86_400, 1, 0, 0))
