"""Aggregates all series of a selector while reading no labels, or few.

Mergeable state comes as one row per cell from ClickHouse. Everything else is read series by series and
aggregated chunk by chunk: a chunk bounds the memory for any number of series. Meanwhile series have numbers
instead of labels; those that topk may show get their labels at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from indexer.clickhouse.store import StoreError
from shim.catalog.names import MADE_LABELS
from shim.catalog.series_index import Ids
from shim.catalog.types import Kind, Part, Selection, View
from shim.catalog.unlabelled_series import UnlabelledSeries
from shim.eval.aggregate import AGGREGATIONS, aggregate
from shim.eval.aggregator import KeepAll, KeepBest
from shim.eval.chunked_aggregation import fold
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model.labels import NAME, Labels, get
from shim.model.numbered_labels import Numbered, named, number_of
from shim.model.values import Annotations, Scalar, String, Vector
from shim.plan.nodes import Number, Text
from shim.read.reader import Keys, Reader
from shim.read.series_slices import slices
from shim.read.store_errors import query_error

#: Series of one chunk: as many as fit with this many numbers, and no more or fewer than these.
_CHUNK_CELLS: Final = 1 << 20
_MAX_CHUNK: Final = 50_000
_MIN_CHUNK: Final = 1_000
#: Numbers that a distribution's buckets take at each step, about.
_BUCKETS: Final = 64
#: Series with labels that are looked at chunk by chunk: fewer are read at once.
_MIN_LABELLED: Final = 10_000
#: Largest k of topk that is chosen chunk by chunk.
_MAX_K: Final = 1_000


@dataclass(frozen=True, slots=True)
class AllSeries:
    """The series of a total. `labels_of` gives the label sets of some, by number. Raises QueryError."""

    kind: Kind
    view: View
    part: Part  # under numbers for labels
    labels_of: Callable[[Sequence[int]], Sequence[Labels]]


def of_unlabelled(found: UnlabelledSeries) -> AllSeries:
    """Return the series that were found without labels. Raises QueryError."""
    ids = _ids(found)

    def labels_of(numbers: Sequence[int]) -> Sequence[Labels]:
        wanted = ids[np.array(numbers, dtype=np.int64)]
        labels: dict[int, Labels] = {}
        for part in found.labelled(wanted).parts:
            labels |= zip(part.series_ids.tolist(), part.labels, strict=True)
        return [labels[i] for i in wanted.tolist()]

    return AllSeries(found.kind, found.view, _part(found, ids, found.whole), labels_of)


def of_selection(found: Selection, max_held: int) -> AllSeries | None:
    """Return series with known labels; None if reading all at once is as good, or the labels are needed.

    `max_held`: the number of series that may be in memory.
    """
    if len(found.parts) != 1 or found.infos or found.warnings:
        return None
    part = found.parts[0]
    count = len(part.series_ids)
    if part.view in MADE_LABELS or part.group is not None or count <= max(_MIN_LABELLED, max_held):
        return None
    labels = part.labels
    numbered = Numbered(get(labels[0], NAME), 0, count)

    def labels_of(numbers: Sequence[int]) -> Sequence[Labels]:
        return [labels[i] for i in numbers]

    return AllSeries(part.kind, part.view, replace(part, labels=numbered), labels_of)


def merged_part(found: UnlabelledSeries) -> tuple[Part, Keys]:
    """Return all series as one group, for readers of mergeable state. Raises QueryError."""
    ids = np.zeros(0, dtype=np.uint64) if found.whole else _ids(found)
    part = _part(found, ids, found.whole)
    return part, Keys([()], np.zeros(len(ids), dtype=np.int64), everything=True)


def can_chunk(op: str, param: Number | Text | None) -> bool:
    """Return whether an aggregation with this parameter can be made of chunks."""
    if is_ranked(op):
        return isinstance(param, Number) and abs(param.value) <= _MAX_K
    match AGGREGATIONS[op].parameter:
        case None:
            return param is None
        case "string":
            return isinstance(param, Text)
    return isinstance(param, Number)


def is_ranked(op: str) -> bool:
    """Return whether an aggregation chooses the best series."""
    return isinstance(AGGREGATIONS[op].chunks, KeepBest)


def over_chunks(
    reader: Reader,
    found: AllSeries,
    op: str,
    param: Number | Text | None,
    steps: int,
    read: Callable[[Part], Vector],
    notes: Annotations,
    *,
    sketches: bool,
) -> Vector:
    """Apply `op` to the results of `read`, which may read sketches, over all series. Raises QueryError."""
    given = _constant(param, steps)
    if isinstance(AGGREGATIONS[op].chunks, KeepAll):
        reader.check_cells(len(found.part.series_ids) * steps)
    made = fold(op, steps, given, notes, reader.check_cells)
    for part in _chunks(found, steps * _BUCKETS if sketches else steps):
        reader.check_time()
        made.add(read(part))
    result = made.result()
    if not is_ranked(op):
        return result
    labels = found.labels_of([number_of(one) for one in result.labels])
    shown = replace(result, labels=[named(*pair) for pair in zip(result.labels, labels, strict=True)])
    return aggregate(op, shown, (), False, given, notes, reader.check_cells)


def _constant(param: Number | Text | None, steps: int) -> Scalar | String | None:
    match param:
        case Number():
            return Scalar(np.full(steps, param.value))
        case Text():
            return String(param.text)
    return None


def _chunks(found: AllSeries, cells: int) -> Iterator[Part]:
    """Cut the series into chunks of bounded memory; each series has about `cells` numbers."""
    size = max(_MIN_CHUNK, min(_MAX_CHUNK, _CHUNK_CELLS // cells))
    for _, part in slices(found.part, 1, size):
        yield part


def _ids(found: UnlabelledSeries) -> Ids:
    try:
        return found.series_ids()
    except StoreError as e:
        raise query_error(e) from e


def _part(found: UnlabelledSeries, ids: Ids, whole: bool) -> Part:
    """Return a part whose labels are numbers."""
    labels = Numbered(found.shown, 0, len(ids))
    projects = np.zeros(len(ids), dtype=np.uint32)
    return Part(found.kind, found.view, (found.metric_id,), ids, projects, labels, whole)


def counts_instead(kind: Kind, view: View, op: str, function: str) -> bool:
    """Return whether the counts of distributions, which are small, say as much about which are present.

    `function`: the range function, "" for a selector.
    """
    counts = AGGREGATIONS[op].only_presence and (not function or RANGE_FUNCTIONS[function].present_as_count)
    return counts and kind == "histogram" and not view
