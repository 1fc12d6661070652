"""Cells of a reading out of blocks; from a statement as far as blocks are missing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shim.catalog.types import Part
from shim.model.values import Bools, Floats, Ints
from shim.read import cell_statements as statements
from shim.read.cell_cache.chunk import CHUNK_SPAN_S, Chunk, ChunkKey, Ids, Rows, Source, places, rows_of
from shim.read.cell_cache.chunk_cache import AnyChunk
from shim.read.cell_statements import KeyedCells
from shim.read.column_merges import merge_of
from shim.read.reader import Keys, Reader
from shim.read.window_plan import UniformCells, WindowPlan

#: Blocks that one reading may ask for; a longer one is left to its statement.
MAX_CHUNKS: Final = 512
#: Times that a reading is made again because something was written to its blocks meanwhile.
TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class ChunkPiece:
    """A run (`segment` -1) or a segment of a reading: bucket starts in `[lo_s, hi_s)` of a rollup."""

    segment: int
    granularity_s: int
    lo_s: int
    hi_s: int
    places: Sequence[ChunkKey]


def read_cells(
    reader: Reader, table: str, part: Part, keys: Keys, reading: WindowPlan, column: str
) -> KeyedCells:
    """Return the cells of one column, from memory or by statement. Raises QueryError."""
    reader.check_reading(len(keys), reading)
    found = lookup(reader, table, part, keys, reading, column)
    if found is not None:
        return found
    return statements.read_cells(reader, table, part, keys, reading, (column,))


def read_columns(
    reader: Reader, table: str, part: Part, keys: Keys, reading: WindowPlan, columns: tuple[str, ...]
) -> KeyedCells:
    """Return the cells of several columns: from memory if it holds all, else by one statement."""
    reader.check_reading(len(keys), reading, len(columns))
    found = [lookup(reader, table, part, keys, reading, column, whole=True) for column in columns]
    values: dict[str, Floats] = {}
    for cells in found:
        if cells is None:
            return statements.read_cells(reader, table, part, keys, reading, columns)
        values.update(cells.values)
    assert found[0] is not None
    return replace(found[0], values=values)


def lookup(
    reader: Reader,
    table: str,
    part: Part,
    keys: Keys,
    reading: WindowPlan,
    column: str,
    *,
    whole: bool = False,
) -> KeyedCells | None:
    """Return the cells if enough are in memory; None if a statement has to read all. Raises QueryError.

    `whole`: enough means all.
    """
    if reader.blocks is None:
        return None
    tenant = reader.tenant
    source = Source(tenant.org_id, tenant.project_id, tuple(sorted(part.metric_ids)), table, column)
    asked = _Asked(reader, part, keys, reading, source, pieces(source, reading), whole)
    for _ in range(TRIES):
        with suppress(ConcurrentWriteError):
            return asked.read()
    return None


def pieces(source: Source, reading: WindowPlan) -> list[ChunkPiece]:
    """Return the pieces of a plan with the chunks that hold them; nothing if there are too many chunks."""
    spans = [(i, s.granularity_s, s.lo_s, s.hi_s) for i, s in enumerate(reading.segments)]
    if reading.run is not None:
        run = reading.run
        spans.append((-1, run.granularity_s, run.origin_s, run.origin_s + run.cells * run.size_s))
    blocks = sum((hi - max(0, lo)) // CHUNK_SPAN_S[g] + 1 for _, g, lo, hi in spans)
    if blocks > MAX_CHUNKS:
        return []
    return [ChunkPiece(i, g, lo, hi, places(source, g, max(0, lo), hi)) for i, g, lo, hi in spans]


class ConcurrentWriteError(Exception):
    """A write touched the chunks during the read."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One reading, and where it can be had from."""

    reader: Reader
    part: Part
    keys: Keys
    reading: WindowPlan
    source: Source
    pieces: Sequence[ChunkPiece]
    whole: bool

    def read(self) -> KeyedCells | None:
        """Read the cells; None if a statement alone is as good. Raises ConcurrentWriteError."""
        assert self.reader.blocks is not None
        begun = time.perf_counter()
        wanted = list(dict.fromkeys(place for piece in self.pieces for place in piece.places))
        if not wanted:
            return None
        # The whole chunks, not only the cells that are read: a new series changes them as a whole.
        lo_s, hi_s = min(p.start_s for p in wanted), max(p.end_s for p in wanted)
        with self.reader.blocks.cache.watch(self.source, lo_s, hi_s, wanted) as (watch, held):
            if len(held) < len(wanted):
                missing = [place for place in wanted if place not in held]
                self.reader.blocks.filler.ask(missing, whole=self.part.whole)
            rest = _rest(self.reading, self.pieces, held)
            if rest is not None and (self.whole or watch.begun or not rest.worth):
                return None
            made = _Making(self.source.column, self.part, self.keys, self.reading)
            for piece in self.pieces:
                made.take(piece, held, rest)
            if watch.ended:
                raise ConcurrentWriteError
            self.reader.note_recalled([p.table for p in held], made.samples, begun)
            if rest is None:
                return made.cells
            made.join(rest, self._by_statement(rest.reading))
            if watch.begun:
                raise ConcurrentWriteError
            return made.cells

    def _by_statement(self, reading: WindowPlan) -> KeyedCells:
        source = self.source
        return statements.read_cells(
            self.reader, source.table, self.part, self.keys, reading, (source.column,)
        )


# ---------------------------------------------------------------- the missing cells


@dataclass(frozen=True, slots=True)
class _Rest:
    """The rest for a statement: cells `[first, last)` of the run and some stitches, as a plan of its own."""

    reading: WindowPlan
    first: int
    last: int
    segments: frozenset[int]
    cells: Ints  # of the whole reading, one for each cell of the rest
    worth: bool  # whether the statement is spared enough


def _rest(
    reading: WindowPlan, wanted: Sequence[ChunkPiece], held: Mapping[ChunkKey, AnyChunk]
) -> _Rest | None:
    """Return the part that is not in memory; None when all is."""
    first, last, run = 0, 0, reading.run
    segments = []
    for piece in wanted:
        gaps = [place for place in piece.places if place not in held]
        if not gaps:
            continue
        if piece.segment >= 0:
            segments.append(piece.segment)
        else:
            assert run is not None
            first = max(0, gaps[0].start_s - run.origin_s) // run.size_s
            last = min(run.cells, -(-(gaps[-1].end_s - run.origin_s) // run.size_s))
    if not segments and first == last:
        return None
    missing = [reading.segments[i] for i in segments]
    extra = list(dict.fromkeys(s.cell for s in missing))
    sub = None
    if run is not None and first < last:
        sub = replace(run, origin_s=run.origin_s + first * run.size_s, cells=last - first)
    moved = tuple(replace(s, cell=last - first + extra.index(s.cell)) for s in missing)
    small = replace(reading, run=sub, segments=moved, cells=last - first + len(extra))
    whole_s = sum(p.hi_s - p.lo_s for p in wanted)
    missing_s = sum(s.hi_s - s.lo_s for s in missing) + (last - first) * (run.size_s if run else 0)
    cells = np.array([*range(first, last), *extra], dtype=np.int64)
    return _Rest(small, first, last, frozenset(segments), cells, 2 * missing_s <= whole_s)


# ---------------------------------------------------------------- putting together


class _Making:
    """The cells of a reading while blocks are added to them."""

    def __init__(self, column: str, part: Part, keys: Keys, reading: WindowPlan) -> None:
        self._column = column
        self._merge = merge_of(column)
        self._part = part
        self._keys = keys
        self._reading = reading
        shape = (len(keys), reading.cells)
        self._values = self._merge.cells(shape)
        self._rows = np.zeros(shape, dtype=bool)
        flagged = reading.run is not None and reading.run.alive_s > 0
        self._alive = np.zeros(shape, dtype=bool) if flagged else self._rows
        self._rows_of: dict[int, tuple[Ids, Rows]] = {}  # by the array of ids, which is held on to

    @property
    def cells(self) -> KeyedCells:
        return KeyedCells({self._column: self._values}, self._rows, self._alive)

    @property
    def samples(self) -> int:
        return int(np.count_nonzero(self._rows if self._alive is self._rows else self._rows | self._alive))

    def take(self, piece: ChunkPiece, held: Mapping[ChunkKey, AnyChunk], rest: _Rest | None) -> None:
        """Add the cells of a piece from chunks, except those that the statement reads."""
        if rest is not None and piece.segment in rest.segments:
            return
        spans = [(piece.lo_s, piece.hi_s)]
        run = self._reading.run
        if piece.segment < 0 and rest is not None and run is not None:
            spans = [
                (piece.lo_s, run.origin_s + rest.first * run.size_s),
                (run.origin_s + rest.last * run.size_s, piece.hi_s),
            ]
        for place in piece.places:
            for lo_s, hi_s in spans:
                lo, hi = max(lo_s, place.start_s), min(hi_s, place.end_s)
                if lo < hi:
                    block = held[place]
                    assert isinstance(block, Chunk)
                    self._take(piece, block, place, lo, hi)

    def _take(self, piece: ChunkPiece, block: Chunk, place: ChunkKey, lo_s: int, hi_s: int) -> None:
        g = place.granularity_s
        # An INSERT may put in other arrays meanwhile; each is looked at once.
        ids, all_values, all_rows = block.ids, block.values, block.rows
        if not len(ids) == len(all_values) == len(all_rows):
            return  # it was changed just now, and all of this will be thrown away
        if not len(ids):
            return
        rows = self._rows_for(ids)
        span = slice((lo_s - place.start_s) // g, (hi_s - place.start_s) // g)
        merge = self._merge.ufunc
        held_values = self._merge.where(all_rows[:, span], all_values[:, span])
        values, there = rows.merged(held_values, merge), rows.any(all_rows[:, span])
        keys: Ints | slice = slice(None) if len(rows.keys) == len(self._keys) else rows.keys
        if piece.segment >= 0:
            cell = self._reading.segments[piece.segment].cell
            self._values[keys, cell] = merge(self._values[keys, cell], merge.reduce(values, axis=1))
            self._rows[keys, cell] |= there.any(axis=1)
            if self._alive is not self._rows:
                self._alive[keys, cell] |= there.any(axis=1)
            return
        run = self._reading.run
        assert run is not None
        if run.size_s == g and not run.alive_s:
            first = (lo_s - run.origin_s) // g
            self._values[keys, first : first + values.shape[1]] = values
            self._rows[keys, first : first + values.shape[1]] = there
            return
        self._take_cells(run, keys, np.arange(lo_s, hi_s, g) - run.origin_s, values, there)

    def _take_cells(
        self, run: UniformCells, keys: Ints | slice, since_s: Ints, values: Floats, there: Bools
    ) -> None:
        """Take buckets that are less than a cell, or of which only some count."""
        cell, position = np.divmod(since_s, run.size_s)
        counts = np.flatnonzero(position >= run.size_s - (run.value_s or run.size_s))
        lives = np.flatnonzero(position >= run.size_s - (run.alive_s or run.size_s))
        for at, flags in ((counts, self._rows), (lives, self._alive)):
            if not len(at) or (flags is self._rows and at is lives):
                continue
            starts = np.flatnonzero(np.diff(cell[at], prepend=-1))
            cells = cell[at][starts]
            into = (keys, cells) if isinstance(keys, slice) else np.ix_(keys, cells)
            flags[into] |= np.logical_or.reduceat(there[:, at], starts, axis=1)
            if at is counts:
                merge = self._merge.ufunc
                self._values[into] = merge(self._values[into], merge.reduceat(values[:, at], starts, axis=1))

    def _rows_for(self, ids: Ids) -> Rows:
        if id(ids) not in self._rows_of:
            self._rows_of[id(ids)] = ids, rows_of(ids, self._part.series_ids, self._keys.group)
        return self._rows_of[id(ids)][1]

    def join(self, rest: _Rest, cells: KeyedCells) -> None:
        """Add the cells that the statement read."""
        before, found = self._values[:, rest.cells], cells.values[self._column]
        self._values[:, rest.cells] = self._merge.ufunc(before, found)
        self._rows[:, rest.cells] |= cells.rows
        if self._alive is not self._rows:
            self._alive[:, rest.cells] |= cells.alive
