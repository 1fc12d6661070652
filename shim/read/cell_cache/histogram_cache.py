"""Keeps bucket counts of groups of distributions as queries read them.

Unlike other chunks these hold some series in some groups, because adding up the buckets of every series costs
as much as reading them. Results of statements are kept; a write drops those it touches. None of them ever
changes, so results found together are consistent.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from shim.catalog.types import Part
from shim.eval.budget import Take
from shim.model.values import Floats, Ints, Spans
from shim.read.bucket_windows import spans_of
from shim.read.cell_cache.chunk import ChunkKey, Sketch, Source, places
from shim.read.cell_cache.chunk_cache import AnyChunk, WriteWatch
from shim.read.cell_cache.lookup import MAX_CHUNKS
from shim.read.reader import Keys, Reader
from shim.read.window_plan import UniformCells, WindowPlan

TABLE: Final = "distributions"
#: The largest share of the memory for the results of one query.
_SHARE: Final = 8
SIDES: Final = ("positive", "negative")
_NONE: Final = np.zeros(0, dtype=np.int64)


class BucketMatrix(Protocol):
    """Counts of every key, cell and bucket of one side: `counts[key, cell, j]` of bucket `first + j`."""

    @property
    def first(self) -> int:
        """The index of the first bucket."""
        ...

    @property
    def counts(self) -> Floats:
        """(keys, cells, buckets): the counts."""
        ...


class Fetched(NamedTuple):
    """Both sides by statement, and the least retention of the rows."""

    sides: tuple[BucketMatrix, BucketMatrix]
    kept_days: int


#: Reads cells by statement; None where they would be too large.
Ask = Callable[[WindowPlan], Fetched | None]


def lookup(
    reader: Reader, part: Part, keys: Keys, reading: WindowPlan, shift: int, ask: Ask
) -> tuple[Pieces, Pieces] | None:
    """Both sides out of memory, by statement as far as missing; None where that is of no use.

    `shift`: the low bits of bucket indexes that are left out. Raises QueryError.
    """
    run = reading.run
    if reader.blocks is None or run is None or run.size_s != run.granularity_s or run.alive_s:
        return None
    begun = time.perf_counter()
    hi_s = run.origin_s + run.cells * run.size_s
    wanted = [
        places(_source(reader, part, keys, side, shift), run.granularity_s, max(0, run.origin_s), hi_s)
        for side in SIDES
    ]
    stretches = wanted[0]
    if len(stretches) > MAX_CHUNKS or len(stretches) < 1:
        return None
    cache = reader.blocks.cache
    every = [place for found in wanted for place in found]
    with cache.watch(stretches[0].source, stretches[0].start_s, stretches[-1].end_s, every) as (watch, held):
        missing = [i for i, pair in enumerate(zip(*wanted, strict=True)) if any(p not in held for p in pair)]
        if missing and watch.begun:
            return None
        gap = (stretches[missing[0]], stretches[missing[-1]]) if missing else None
        rest = _rest(reading, run, gap)
        fetched = ask(rest) if rest is not None else None
        if rest is not None and fetched is None:
            return None
        found = dict(held)
        if fetched is not None and gap is not None:
            new = _kept(fetched, wanted, gap)
            found.update(new)
            _keep(reader, watch, new)
        if watch.ended:
            return None
    reader.note_recalled([p.table for p in held], 0, begun)
    positive, negative = (
        _pieces(reading, run, side, found, fetched.sides[i] if fetched else None)
        for i, side in enumerate(wanted)
    )
    return positive, negative


def _source(reader: Reader, part: Part, keys: Keys, side: str, shift: int) -> Source:
    groups = b"" if keys.group is None else keys.group.tobytes()
    digest = hashlib.blake2b(part.series_ids.tobytes(), digest_size=16)
    digest.update(b"%d/%d/" % (shift, len(keys)) + groups)
    tenant = reader.tenant
    metric_ids = tuple(sorted(part.metric_ids))
    return Source(tenant.org_id, tenant.project_id, metric_ids, TABLE, side, digest.digest())


def _rest(reading: WindowPlan, run: UniformCells, gap: tuple[ChunkKey, ChunkKey] | None) -> WindowPlan | None:
    """Return the rest for a statement: whole spans from the first missing one to the last, and stitches."""
    if gap is None and not reading.segments:
        return None
    size = run.granularity_s
    cells = 0 if gap is None else (gap[1].end_s - gap[0].start_s) // size
    sub = None if gap is None else replace(run, origin_s=gap[0].start_s, cells=cells)
    moved = tuple(replace(s, cell=s.cell - run.cells + cells) for s in reading.segments)
    return replace(reading, run=sub, segments=moved, cells=cells + reading.cells - run.cells)


def _kept(
    fetched: Fetched, wanted: Sequence[Sequence[ChunkKey]], gap: tuple[ChunkKey, ChunkKey]
) -> dict[ChunkKey, Sketch]:
    out = {}
    for matrix, side in zip(fetched.sides, wanted, strict=True):
        for place in side:
            if gap[0].start_s <= place.start_s <= gap[1].start_s:
                first = (place.start_s - gap[0].start_s) // place.granularity_s
                counts = matrix.counts[:, first : first + place.cells]
                out[place] = Sketch.of(matrix.first, counts, fetched.kept_days)
    return out


def _keep(reader: Reader, watch: WriteWatch, new: Mapping[ChunkKey, Sketch]) -> None:
    assert reader.blocks is not None
    cache = reader.blocks.cache
    if sum(sketch.size_bytes for sketch in new.values()) * _SHARE <= cache.max_bytes:
        cache.keep(watch, {p: s for p, s in new.items() if not cache.is_old(p, s)})


def _pieces(
    reading: WindowPlan,
    run: UniformCells,
    wanted: Sequence[ChunkKey],
    found: Mapping[ChunkKey, AnyChunk],
    rest: BucketMatrix | None,
) -> Pieces:
    pieces = []
    for place in wanted:
        sketch = found[place]
        assert isinstance(sketch, Sketch)
        lo = (place.start_s - run.origin_s) // run.size_s
        first, last = max(0, lo), min(run.cells, lo + place.cells)
        pieces.append(_Piece(first, last, first - lo, sketch))
    extra = reading.cells - run.cells
    beside = Sketch(0, np.zeros((1, extra, 0)), 0)
    if rest is not None and extra:
        beside = Sketch(rest.first, rest.counts[:, rest.counts.shape[1] - extra :], 0)
    pieces.append(_Piece(run.cells, reading.cells, 0, beside))
    return Pieces([p for p in pieces if p.sketch.counts.size and p.first < p.last], reading.cells)


class _Piece(NamedTuple):
    """Cells `[first, last)` of a reading are those of the sketch from `at` on."""

    first: int
    last: int
    at: int
    sketch: Sketch


@dataclass(frozen=True, slots=True)
class Pieces:
    """One side of a reading, of any number of sketches."""

    pieces: Sequence[_Piece]
    cells: int

    def windows(self, key: int, reading: WindowPlan, take: Take) -> Spans:
        """Return the buckets of one key over the windows of a plan. Raises QueryError."""
        found = [(piece, *_used(piece, key)) for piece in self.pieces]
        indices = np.unique(np.concatenate([_NONE, *(own for _, own, _ in found)]))

        def fill(some: slice, cells: Floats) -> None:
            wanted = indices[some]
            for piece, own, counts in found:
                lo, hi = np.searchsorted(own, (wanted[0], wanted[-1] + 1)).tolist()
                cells[np.searchsorted(wanted, own[lo:hi]), piece.first : piece.last] = counts[:, lo:hi].T

        return spans_of(indices, reading, fill, take)


def _used(piece: _Piece, key: int) -> tuple[Ints, npt.NDArray[Any]]:
    """Return the buckets of one key that occur in a piece, and their counts (cells, buckets)."""
    here = piece.sketch.counts[key, piece.at : piece.at + piece.last - piece.first]
    used = np.flatnonzero(here.any(axis=0))
    neighbours = len(used) == 0 or int(used[-1] - used[0]) + 1 == len(used)
    counts = here[:, used[0] : used[-1] + 1] if neighbours and len(used) else here[:, used]
    return piece.sketch.first + used.astype(np.int64), counts
