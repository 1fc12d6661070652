"""Aggregations over all series of a selector, of which not one label is read.

What merges is one row per cell straight from ClickHouse. Everything else is looked at series by series, and
aggregated chunk by chunk: a chunk bounds the memory, whatever the number of series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from indexer.store import StoreError
from shim.catalog.roster import Ids
from shim.catalog.types import Part
from shim.catalog.unlabelled import Unlabelled
from shim.errors import InternalError
from shim.eval.aggregate import aggregate
from shim.eval.histogram.arithmetic import divide
from shim.labels import NAME
from shim.read.joined import joined_loose
from shim.read.reader import Keys, Reader
from shim.values import Annotations, Floats, Vector

#: Series of one chunk: as many as fit with this many numbers, and no more or fewer than these.
_CHUNK_CELLS: Final = 1 << 20
_MAX_CHUNK: Final = 50_000
_MIN_CHUNK: Final = 1_000
#: Numbers that a distribution's buckets take at each step, about.
_BUCKETS: Final = 64

#: How the values of chunks become the value of all.
_FOLD: Final = {"sum": "sum", "count": "sum", "min": "min", "max": "max", "group": "group"}


def merged_part(found: Unlabelled) -> tuple[Part, Keys]:
    """All series as one group, for readers of what merges. Raises InternalError."""
    ids = np.zeros(0, dtype=np.uint64) if found.whole else _ids(found)
    part = _part(found, ids, whole=found.whole)
    return part, Keys([()], np.zeros(len(ids), dtype=np.int64), everything=True)


def over_chunks(
    reader: Reader,
    found: Unlabelled,
    op: str,
    steps: int,
    read: Callable[[Part], Vector],
    notes: Annotations,
) -> Vector:
    """`op` over what `read` gives of all series. Raises QueryError."""
    ops = ("sum", "count") if op == "avg" else (op,)
    totals = {one: Vector.empty(steps) for one in ops}
    for part in _chunks(found, steps):
        reader.check_time()
        vector = read(part)
        for one in ops:
            chunk = aggregate(one, vector, (), False, None, notes)
            totals[one] = aggregate(
                _FOLD[one], joined_loose((totals[one], chunk), steps), (), False, None, notes
            )
    return _mean(totals["sum"], totals["count"]) if op == "avg" else totals[op]


def _chunks(found: Unlabelled, steps: int) -> Iterator[Part]:
    ids = _ids(found)
    each = steps * (_BUCKETS if found.kind == "histogram" and not found.view else 1)
    size = max(_MIN_CHUNK, min(_MAX_CHUNK, _CHUNK_CELLS // each))
    for first in range(0, len(ids), size):
        chunk = ids[first : first + size]
        yield _part(found, chunk, span=(int(chunk[0]), int(chunk[-1])) if found.whole else None)


def _ids(found: Unlabelled) -> Ids:
    try:
        return found.series_ids()
    except StoreError as e:
        raise InternalError("the store could not answer") from e


def _part(
    found: Unlabelled,
    ids: Ids,
    *,
    whole: bool = False,
    span: tuple[int, int] | None = None,
) -> Part:
    """Series with labels of their own that say nothing: no two rows may be one."""
    labels = [((NAME, found.shown), ("series", str(i))) for i in range(len(ids))]
    projects = np.zeros(len(ids), dtype=np.uint32)
    return Part(found.kind, found.view, (found.metric_id,), ids, projects, labels, whole, span=span)


def _mean(total: Vector, counted: Vector) -> Vector:
    """The sum of all series divided by their number."""
    counts = _row(counted)
    with np.errstate(all="ignore"):
        values = total.values / np.maximum(counts, 1)
    histograms = [divide(h, np.maximum(counts, 1)) for h in total.histograms]
    return replace(total, values=values, histograms=histograms)


def _row(vector: Vector) -> Floats:
    return vector.values[0] if len(vector.values) else np.zeros(vector.steps)


def presence_of(found: Unlabelled, op: str, function: str) -> Unlabelled:
    """What says as much about which series are present: of distributions their counts, which are small.

    `function`: the range function, "" for a selector.
    """
    counts = op in ("count", "group") and function in ("", "rate", "increase")
    if counts and found.kind == "histogram" and not found.view:
        return replace(found, view="count")
    return found
