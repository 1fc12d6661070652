"""topk, bottomk, limitk and limit_ratio: a choice of each group's series, made at every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import xxhash

from shim.eval.aggregation.floats import note_histograms
from shim.eval.aggregator import AggregationInput, AggregationOperator, KeepBest
from shim.eval.budget import Take
from shim.eval.grouping import Groups
from shim.eval.histogram.merging import where_present
from shim.eval.merge import picked, without_empty_rows
from shim.model.errors import ExecutionError
from shim.model.labels import Labels
from shim.model.messages import invalid_ratio
from shim.model.number_format import format_g
from shim.model.values import Annotations, Bools, Floats, Ints, Scalar, Vector

_MAX_INT64 = float(2**63)
_FEW_GROUPS = 64
_BLOCK_CELLS = 1 << 19


def topk(groups: Groups, k: Scalar, notes: Annotations) -> Vector:
    """Keep the k series of each group with the largest values."""
    return _ranked(groups, k, notes, "topk", descending=True)


def bottomk(groups: Groups, k: Scalar, notes: Annotations) -> Vector:
    """Keep the k series of each group with the smallest values."""
    return _ranked(groups, k, notes, "bottomk", descending=False)


def limitk(groups: Groups, k: Scalar, notes: Annotations) -> Vector:
    """Keep the first k present series of each group, histograms included."""
    del notes
    limit = _counts(k)
    taken = np.zeros((len(groups.labels), groups.vector.steps))
    keep = np.zeros(groups.vector.present.shape, dtype=bool)
    for row, owner in zip(groups.order, groups.owner, strict=True):
        groups.take(0)
        keep[row] = groups.vector.present[row] & (taken[owner] < limit)
        taken[owner] += keep[row]
    histograms = list(groups.vector.histograms)
    for owner, rows in enumerate(groups.histogram_rows):
        for row in rows:
            histograms[row] = where_present(histograms[row], taken[owner] < limit)
            taken[owner] += histograms[row].present
    return without_empty_rows(replace(groups.vector, present=keep, histograms=histograms))


def limit_ratio(groups: Groups, ratio: Scalar, notes: Annotations) -> Vector:
    """Keep about `ratio` of the series, chosen by a hash of their labels; -ratio keeps all others."""
    if np.isnan(ratio.values).any():
        raise ExecutionError("Ratio value is NaN")
    capped = np.clip(ratio.values, -1.0, 1.0)
    for value in np.unique(ratio.values[capped != ratio.values]):
        notes.argument(0).warn(invalid_ratio(float(value), math.copysign(1.0, float(value))))
    vector = groups.vector
    keep = vector.present & _sampled(_offsets(vector.labels), capped)
    chosen = _sampled(_offsets(vector.histogram_labels), capped)
    histograms = [where_present(h, chosen[i]) for i, h in enumerate(vector.histograms)]
    return without_empty_rows(replace(vector, present=keep, histograms=histograms))


def _ranked(groups: Groups, k: Scalar, notes: Annotations, op: str, *, descending: bool) -> Vector:
    limit = _counts(k)
    note_histograms(groups, op, notes)
    vector = groups.vector
    if not len(groups.order):
        return Vector.empty(vector.steps)
    groups = _contenders(groups, limit, descending=descending)
    present = np.zeros(vector.present.shape, dtype=bool)
    if vector.steps == 1:  # an instant answer is sorted within each group
        values = groups.values[groups.present]
        if len(np.unique(values)) < len(values):
            groups = _by_labels(groups)
        order, place = _places(groups, descending=descending)
        present[groups.order] = groups.present & (place < limit)
        rows = groups.order[order[:, 0]]
        rows = rows[present[rows, 0]]
        labels = [vector.labels[row] for row in rows]
        return Vector(1, labels, vector.values[rows], present[rows], ordered=True)
    kept = _kept(groups, limit, descending=descending)
    if kept is None:
        groups = _by_labels(groups)
        kept = _kept(groups, limit, descending=descending, ordered=True)
    assert kept is not None
    present[groups.order] = kept
    return without_empty_rows(replace(vector, present=present, histogram_labels=(), histograms=()))


def _contenders(groups: Groups, limit: Floats, *, descending: bool) -> Groups:
    """Drop the rows that k others of their group beat at every step: nearly all of many series.

    Drops none where k varies or there are many groups (see `_kept`): these are sorted.
    """
    vector = groups.vector
    k = int(min(max(limit[0], 0), len(groups.order)))
    keep = np.ones(len(groups.order), dtype=bool)
    sizes = groups.sizes[groups.with_floats].tolist()
    if k < 1 or len(sizes) > _FEW_GROUPS or (limit != limit[0]).any():
        return groups
    for begin, size in zip(groups.starts.tolist(), sizes, strict=True):
        if k < size:
            rows = groups.order[begin : begin + size]
            some = picked(vector, rows)
            keep[begin : begin + size] = contenders(some, k, descending=descending, take=groups.take)[0]
    if keep.all():
        return groups
    return replace(groups, order=groups.order[keep], owner=groups.owner[keep])


def contenders(vector: Vector, k: int, *, descending: bool, take: Take) -> tuple[Bools, Floats]:
    """Return which float rows are among the k best at any step, or equal to the last of them.

    Also returns that last value at each step, an infinity where fewer than k are better. A NaN always
    qualifies. k is less than the number of rows. Processes some steps at once: copies of all would not fit
    into a cache.
    """
    found = np.zeros(len(vector.labels), dtype=bool)
    bound = np.empty(vector.steps)
    width = max(1, _BLOCK_CELLS // len(found))
    for first in range(0, vector.steps, width):
        take(0)
        block = slice(first, first + width)
        key, present = np.array(vector.values[:, block].T, order="C"), vector.present[:, block].T
        if descending:
            np.negative(key, out=key)
        key[~present | np.isnan(key)] = np.inf
        last = np.partition(key, k - 1, axis=1)[:, k - 1 : k]
        found |= ((key <= last) & present).any(axis=0)
        bound[block] = last[:, 0]
    return found, -bound if descending else bound


def reaching(vector: Vector, bound: Floats, *, descending: bool) -> Bools:
    """Return which float rows reach `bound` at any step; a NaN does."""
    worse = vector.values < bound if descending else vector.values > bound
    return np.asarray((~worse & vector.present).any(axis=1))


def _by_labels(groups: Groups) -> Groups:
    """Sort the rows of each group by labels: of equal values the first ones are taken.

    Prometheus takes those that it meets first, an order to rely on for nothing.
    """
    labels = groups.vector.labels
    rank = np.empty(len(labels), dtype=np.int64)
    rank[sorted(groups.order.tolist(), key=labels.__getitem__)] = np.arange(len(groups.order))
    by = np.lexsort((rank[groups.order], groups.owner))
    return replace(groups, order=groups.order[by], owner=groups.owner[by])


def _kept(groups: Groups, limit: Floats, *, descending: bool, ordered: bool = False) -> Bools | None:
    """Return which of the rows of `groups.order` are among the first `limit` of their group at each step.

    Returns None where the order of the rows decides between equal values, and they are not `ordered`. A
    selection instead of a sort is enough where k is constant, values are finite and groups are few.
    """
    values, present = groups.values, groups.present
    k = int(min(max(limit[0], 0), len(values)))
    few = len(groups.starts) <= _FEW_GROUPS
    if not (few and (limit == limit[0]).all() and np.isfinite(values[present]).all()):
        return _among(groups, limit, descending=descending) if ordered else None
    key = np.where(present, -values if descending else values, np.inf)
    keep = np.zeros(values.shape, dtype=bool)
    for begin, size in zip(groups.starts.tolist(), groups.sizes[groups.with_floats].tolist(), strict=True):
        rows = slice(begin, begin + size)
        if k >= size:
            keep[rows] = present[rows]
            continue
        keep[rows], cut = _least(key[rows], k)
        if cut and not ordered:
            return None
    return keep


def _among(groups: Groups, limit: Floats, *, descending: bool) -> Bools:
    """Choose as `_kept` does, by sorting, some steps at once."""
    vector = groups.vector
    keep = np.zeros((len(groups.order), vector.steps), dtype=bool)
    width = max(1, _BLOCK_CELLS // len(groups.order))
    for first in range(0, vector.steps, width):
        groups.take(0)
        at = slice(first, min(first + width, vector.steps))
        values, present = vector.values[:, at], vector.present[:, at]
        some = replace(
            groups, vector=replace(vector, steps=at.stop - at.start, values=values, present=present)
        )
        place = _places(some, descending=descending)[1]
        keep[:, at] = some.present & (place < limit[at])
    return keep


def _least(key: Floats, k: int) -> tuple[Bools, bool]:
    """Return the k smallest of each column, without infinite ones, and whether ties were cut.

    k is less than the number of rows.
    """
    if k == 0:
        return np.zeros(key.shape, dtype=bool), False
    last = np.partition(key.T, k - 1, axis=1)[:, k - 1]  # along rows of a transposed copy: twice as fast
    keep: Bools = key < last
    tied = (key == last) & np.isfinite(last)
    spare = k - keep.sum(axis=0)
    cut = bool((tied.sum(axis=0) > spare).any())
    if cut:
        tied &= np.cumsum(tied, axis=0) <= spare
    keep |= tied
    return keep, cut


def _places(groups: Groups, *, descending: bool) -> tuple[Ints, Ints]:
    """Return the order of the rows of `groups.order` at each step, and each row's rank in its group.

    Equal values keep their order; NaN comes after all numbers, absent after all.
    """
    present, values = groups.present, groups.values
    key = -values if descending else values
    kind = np.where(present, np.where(np.isnan(values), 1, 0), 2)
    owner = np.broadcast_to(groups.owner[:, None], values.shape)
    order = np.lexsort((key, kind, owner), axis=0)
    starts = np.repeat(groups.starts, groups.sizes[groups.with_floats])
    standing = np.broadcast_to((np.arange(len(values)) - starts)[:, None], values.shape)
    place = np.empty(values.shape, dtype=np.int64)
    np.put_along_axis(place, order, standing, axis=0)
    return order, place


def _counts(k: Scalar) -> Floats:
    """Return k per step as whole numbers.

    Raises: ExecutionError for values that Prometheus rejects.
    """
    if np.isnan(k.values).any():
        raise ExecutionError("Parameter value is NaN")
    for value in k.values[np.abs(k.values) >= _MAX_INT64]:
        direction = "overflows" if value > 0 else "underflows"
        raise ExecutionError(f"Scalar value {format_g(float(value))} {direction} int64")
    return np.trunc(k.values)


def _offsets(labels: Sequence[Labels]) -> Floats:
    """Map each label set to [0, 1) by a hash of its labels (as Prometheus' Labels.Hash)."""
    hashes = [xxhash.xxh64_intdigest(_packed(one)) for one in labels]
    return np.array(hashes, dtype=np.float64) / float(2**64 - 1)


def _packed(labels: Labels) -> bytes:
    return b"".join(part.encode() + b"\xff" for pair in labels for part in pair)


def _sampled(offsets: Floats, ratio: Floats) -> Bools:
    at = offsets[:, None]
    return np.where(ratio >= 0, at < ratio, at >= 1.0 + ratio)


def _choosing(
    choose: Callable[[Groups, Scalar, Annotations], Vector],
) -> Callable[[AggregationInput], Vector]:
    return lambda given: choose(given.groups(), Scalar(given.numbers), given.notes)


AGGREGATIONS = (
    AggregationOperator(
        "topk",
        "The k series with the largest values",
        _choosing(topk),
        parameter="scalar",
        chunks=KeepBest(descending=True),
    ),
    AggregationOperator(
        "bottomk",
        "The k series with the smallest values",
        _choosing(bottomk),
        parameter="scalar",
        chunks=KeepBest(descending=False),
    ),
    AggregationOperator("limitk", "k series", _choosing(limitk), parameter="scalar", experimental=True),
    AggregationOperator(
        "limit_ratio",
        "The given share of the series, chosen by a hash of their labels",
        _choosing(limit_ratio),
        parameter="scalar",
        experimental=True,
    ),
)
