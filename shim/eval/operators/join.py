"""Arithmetic and comparison between two vectors.

Source: Prometheus 3.x VectorBinop, at every step on the values present there. Two series of one signature on
the "one" side, or two results of one label set, matter only where both have a value.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from shim.eval.budget import Take, free
from shim.eval.merge import merged, without_empty_rows
from shim.eval.operators.floats import ARITHMETIC
from shim.eval.operators.matching import Matching, Operand, sides
from shim.eval.operators.pairs import Row, float_pairs, histogram_pair
from shim.model.errors import ExecutionError
from shim.model.labels import Labels, dropping_name
from shim.model.messages import GROUPING_NOT_UNIQUE, MANY_TO_ONE, duplicate_series
from shim.model.values import Annotations, Bools, Histogram, Ints, Vector


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Series that match: row `many[i]` with row `one[i]`, the floats of both sides first."""

    many: Ints
    one: Ints
    floats: int  # the number of pairs of two floats


def join(
    op: str, left: Vector, right: Vector, matching: Matching, return_bool: bool, notes: Annotations,
    take: Take = free,
) -> Vector:  # fmt: skip
    """Compute `left op right`; `take` is asked before pairs are made.

    Raises: ExecutionError where the matching is not unique, with Prometheus' messages.
    """
    a, b, signatures = sides(left, right, matching)
    swapped = matching.card == "one-to-many"
    many, one = (b, a) if swapped else (a, b)
    _refuse_duplicates(many, one, signatures, "left" if swapped else "right")
    pairs = _pairs(many, one, take)
    if matching.card == "one-to-one":
        _refuse_many(many, one, pairs)
    matched = [
        (many.labels[m], one.labels[o]) for m, o in zip(pairs.many.tolist(), pairs.one.tolist(), strict=True)
    ]
    labels = matching.results(matched, drop_name=op in ARITHMETIC)
    if return_bool:
        labels = [dropping_name(one) for one in labels]
    result = _floats(op, many, one, pairs, labels, swapped=swapped, return_bool=return_bool)
    rows = _histograms(op, many, one, pairs, take, swapped=swapped, return_bool=return_bool, notes=notes)
    result = _with_rows(result, labels[pairs.floats :], rows)
    groups = many.signatures[pairs.many]
    if matching.card != "one-to-one":
        _refuse_overlaps(result, _kept_groups(groups, pairs.floats, rows))
    return merged(without_empty_rows(result))


def _floats(
    op: str,
    many: Operand,
    one: Operand,
    pairs: _Pairs,
    labels: Sequence[Labels],
    *,
    swapped: bool,
    return_bool: bool,
) -> Vector:
    """Compute all pairs of floats at once."""
    m, o = pairs.many[: pairs.floats], pairs.one[: pairs.floats]
    x, y = many.vector.values[m], one.vector.values[o]
    left, right = (y, x) if swapped else (x, y)
    both = many.present[m] & one.present[o]
    values, present = float_pairs(op, left, right, both, keep=left, return_bool=return_bool)
    return Vector(many.vector.steps, labels[: pairs.floats], values, present)


def _histograms(
    op: str, many: Operand, one: Operand, pairs: _Pairs, take: Take, *,
    swapped: bool, return_bool: bool, notes: Annotations,
) -> list[Row | None]:  # fmt: skip
    """Compute the pairs that are not floats alone, one by one."""
    out: list[Row | None] = []
    held = 0
    for m, o in zip(pairs.many[pairs.floats :], pairs.one[pairs.floats :], strict=True):
        found = histogram_pair(op, *_rows(many, one, m, o, swapped), return_bool=return_bool, notes=notes)
        if found is not None and found.histogram is not None:
            held += (found.histogram.buckets + 3) * many.vector.steps
        take(held)
        out.append(found)
    return out


def _rows(many: Operand, one: Operand, m: int, o: int, swapped: bool) -> tuple[Row, Row]:
    first, second = _row(many, m), _row(one, o)
    return (second, first) if swapped else (first, second)


def _row(side: Operand, row: int) -> Row:
    if row < side.floats:
        return Row(side.vector.values[row], side.present[row])
    histogram = side.histogram(row)
    return Row(np.zeros(side.vector.steps), histogram.present, histogram)


def _pairs(many: Operand, one: Operand, take: Take) -> _Pairs:
    """Pair every series of the many side with every one of its signature on the other."""
    rows, single = _single_pairs(many, one)
    if not single:
        rows = _all_pairs(many, one, take)
    plain = (rows[:, 0] < many.floats) & (rows[:, 1] < one.floats)
    rows = np.concatenate([rows[plain], rows[~plain]]) if not plain.all() else rows
    return _Pairs(rows[:, 0], rows[:, 1], int(plain.sum()))


def _single_pairs(many: Operand, one: Operand) -> tuple[Ints, bool]:
    """Return the pairs as rows, and whether every signature occurs once on the one side."""
    last = max((int(side.signatures.max()) for side in (many, one) if len(side.signatures)), default=-1)
    partner = np.full(last + 1, -1)
    partner[one.signatures] = np.arange(len(one.signatures))
    if np.count_nonzero(partner >= 0) < len(one.signatures):
        return np.zeros((0, 2), dtype=np.int64), False
    others = partner[many.signatures]
    rows = np.flatnonzero(others >= 0)
    return np.stack([rows, others[rows]], axis=1), True


def _all_pairs(many: Operand, one: Operand, take: Take) -> Ints:
    partners: dict[int, list[int]] = {}
    for row, signature in enumerate(one.signatures.tolist()):
        partners.setdefault(signature, []).append(row)
    take(sum(len(partners.get(s, ())) for s in many.signatures.tolist()) * many.vector.steps)
    found = [
        (row, other)
        for row, signature in enumerate(many.signatures.tolist())
        for other in partners.get(signature, ())
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _with_rows(vector: Vector, labels: Sequence[Labels], rows: Sequence[Row | None]) -> Vector:
    """Return the vector with the results of pairs of histograms after its own."""
    if not rows:
        return vector
    floats = [(one, r) for one, r in zip(labels, rows, strict=True) if r is not None and r.histogram is None]
    histograms: list[tuple[Labels, Histogram]] = [
        (one, r.histogram)
        for one, r in zip(labels, rows, strict=True)
        if r is not None and r.histogram is not None
    ]
    values = [vector.values, *(r.values[None, :] for _, r in floats)]
    present = [vector.present, *(r.present[None, :] for _, r in floats)]
    return Vector(
        vector.steps,
        [*vector.labels, *(one for one, _ in floats)],
        np.concatenate(values),
        np.concatenate(present),
        [one for one, _ in histograms],
        [h for _, h in histograms],
    )


def _kept_groups(groups: Ints, floats: int, rows: Sequence[Row | None]) -> list[int]:
    """Return the signature of each row of the result, in the order of `_with_rows`."""
    behind = list(zip(groups[floats:].tolist(), rows, strict=True))
    as_floats = [g for g, r in behind if r is not None and r.histogram is None]
    return [
        *groups[:floats].tolist(),
        *as_floats,
        *(g for g, r in behind if r is not None and r.histogram is not None),
    ]


def _refuse_duplicates(many: Operand, one: Operand, signatures: Sequence[Labels], name: str) -> None:
    """Check many-to-many: two series of one signature on the one side, at a step where both sides have any.

    The error names the first case by steps and then labels.
    """
    if len(set(one.signatures.tolist())) == len(one.signatures) or not len(many.labels):
        return
    matched = many.present.any(axis=0)
    owner: dict[int, list[int]] = {}
    for row, signature in enumerate(one.signatures.tolist()):
        owner.setdefault(signature, []).append(row)
    clashes: list[
        tuple[int, Labels, Labels, int]
    ] = []  # step, the later and the earlier by labels, signature
    for signature, rows in owner.items():
        crowded = one.present[rows].sum(axis=0) > 1
        if (steps := np.flatnonzero(crowded & matched)).size:
            step = int(steps[0])
            first, second = sorted(one.labels[row] for row in rows if one.present[row, step])[:2]
            clashes.append((step, second, first, signature))
    if clashes:
        _, second, first, signature = min(clashes)
        raise ExecutionError(duplicate_series(signatures[signature], name, first, second))


def _refuse_many(many: Operand, one: Operand, pairs: _Pairs) -> None:
    """Check one-to-one: two series of one signature with one partner, even if a comparison drops them."""
    if len(set(pairs.one.tolist())) == len(pairs.one):
        return
    both = many.present[pairs.many] & one.present[pairs.one]
    _refuse_shared(pairs.one.tolist(), both, MANY_TO_ONE)


def _refuse_overlaps(result: Vector, groups: Sequence[int]) -> None:
    """Check grouping: two results of one signature and equal labels at one step."""
    labels = [*result.labels, *result.histogram_labels]
    keys = list(zip(groups, labels, strict=True))
    if len(set(keys)) < len(keys):
        _refuse_shared(keys, [*result.present, *(h.present for h in result.histograms)], GROUPING_NOT_UNIQUE)


def _refuse_shared(keys: Sequence[Hashable], present: Iterable[Bools], text: str) -> None:
    """Check that no two rows of one key are present at one step.

    Raises: ExecutionError where two are.
    """
    seen: dict[Hashable, Bools] = {}
    for key, here in zip(keys, present, strict=True):
        before = seen.get(key)
        if before is not None and (before & here).any():
            raise ExecutionError(text)
        seen[key] = here if before is None else before | here
