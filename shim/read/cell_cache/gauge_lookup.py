"""Gauges' buckets out of blocks; from a statement as far as blocks are missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from shim.catalog.types import Part
from shim.read.cell_cache.chunk import CHUNK_SPAN_S, Chunk, ChunkKey, Ids, Rows, Source, places, rows_of
from shim.read.cell_cache.chunk_cache import AnyChunk
from shim.read.cell_cache.lookup import MAX_CHUNKS, TRIES, ConcurrentWriteError
from shim.read.gauge_cells import GaugeCells
from shim.read.reader import Reader

TABLE: Final = "gauges"
#: Reads the buckets of `[lo_s, hi_s)` by statement; None where they cannot be cells.
Ask = Callable[[int, int], GaugeCells | None]


def lookup(
    reader: Reader, part: Part, granularity_s: int, lo_s: int, hi_s: int, columns: Sequence[str], ask: Ask
) -> GaugeCells | None:
    """Return the buckets of `[lo_s, hi_s)` if enough is in memory; None if a statement has to read all.

    Raises QueryError.
    """
    if (hi_s - max(0, lo_s)) // CHUNK_SPAN_S[granularity_s] * len(columns) >= MAX_CHUNKS:
        return None
    asked = _Asked(reader, part, granularity_s, lo_s, hi_s, columns, ask)
    for _ in range(TRIES):
        with suppress(ConcurrentWriteError):
            return asked.read()
    return None


@dataclass(frozen=True, slots=True)
class _Asked:
    """One reading. A stretch of time is in memory when all of its columns are."""

    reader: Reader
    part: Part
    granularity_s: int
    lo_s: int
    hi_s: int
    columns: Sequence[str]
    ask: Ask

    def read(self) -> GaugeCells | None:
        """Read the buckets; None if a statement alone is as good. Raises ConcurrentWriteError."""
        assert self.reader.blocks is not None
        begun = time.perf_counter()
        wanted = {column: self._places(column) for column in self.columns}
        last = wanted["last"]
        lo_s, hi_s = last[0].start_s, last[-1].end_s
        every = [place for found in wanted.values() for place in found]
        with self.reader.blocks.cache.watch(last[0].source, lo_s, hi_s, every) as (watch, held):
            if len(held) < len(every):
                missing = [place for place in every if place not in held]
                self.reader.blocks.filler.ask(missing, whole=self.part.whole)
            gap = self._gap(list(zip(*wanted.values(), strict=True)), held)
            if gap is not None and (watch.begun or 2 * (gap[1] - gap[0]) > self.hi_s - self.lo_s):
                return None
            cells = GaugeCells.empty(
                len(self.part.series_ids), self.lo_s, self.hi_s, self.granularity_s, self.columns
            )
            rows_of_ids: dict[int, tuple[Ids, Rows]] = {}  # by the array of ids, which is held on to
            for place, block in held.items():
                assert isinstance(block, Chunk)
                self._take(cells, place, block, gap, rows_of_ids)
            if watch.ended:
                raise ConcurrentWriteError
            self.reader.note_recalled([p.table for p in held], int(cells.rows.sum()), begun)
            if self.part.group is not None:
                cells = cells.grouped(self.part.group, len(self.part.labels))
            if gap is None:
                return cells
            rest = self.ask(*gap)
            if rest is None or watch.begun:
                raise ConcurrentWriteError
            cells.take(rest)
            return cells

    def _places(self, column: str) -> list[ChunkKey]:
        tenant = self.reader.tenant
        metric_ids = tuple(sorted(self.part.metric_ids))
        source = Source(tenant.org_id, tenant.project_id, metric_ids, TABLE, column)
        return places(source, self.granularity_s, max(0, self.lo_s), self.hi_s)

    def _gap(
        self, stretches: Sequence[tuple[ChunkKey, ...]], held: Mapping[ChunkKey, AnyChunk]
    ) -> tuple[int, int] | None:
        """Return the range from the first missing chunk to the last, clipped; None if none is missing."""
        missing = [found[0] for found in stretches if any(place not in held for place in found)]
        if not missing:
            return None
        return max(self.lo_s, missing[0].start_s), min(self.hi_s, missing[-1].end_s)

    def _take(
        self,
        cells: GaugeCells,
        place: ChunkKey,
        block: Chunk,
        gap: tuple[int, int] | None,
        rows_of_ids: dict[int, tuple[Ids, Rows]],
    ) -> None:
        lo_s, hi_s = max(self.lo_s, place.start_s), min(self.hi_s, place.end_s)
        if gap is not None and gap[0] <= lo_s < gap[1]:
            return  # a gap is whole stretches
        # An INSERT may put in other arrays meanwhile; each is looked at once.
        ids, values, rows, offset_ms = block.ids, block.values, block.rows, block.offset_ms
        sizes = {len(ids), len(values), len(rows), len(ids if offset_ms is None else offset_ms)}
        if len(sizes) > 1 or not len(ids):
            return  # it was changed just now, and all of this will be thrown away; or there is nothing in it
        if id(ids) not in rows_of_ids:
            rows_of_ids[id(ids)] = ids, rows_of(ids, self.part.series_ids, None)
        chosen = rows_of_ids[id(ids)][1]
        g = self.granularity_s
        there = slice((lo_s - place.start_s) // g, (hi_s - place.start_s) // g)
        here = slice((lo_s - self.lo_s) // g, (hi_s - self.lo_s) // g)
        whole = len(chosen.keys) == len(cells.rows)
        series = slice(None) if whole else chosen.keys
        cells.values[place.source.column][series, here] = chosen.picked(values[:, there])
        if offset_ms is not None:
            cells.rows[series, here] = chosen.picked(rows[:, there])
            cells.offset_ms[series, here] = chosen.picked(offset_ms[:, there])
