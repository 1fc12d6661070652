"""Aggregation over series: `sum by (x) (...)` and its kin. Pure.

Source of behaviour: Prometheus 3.x `promql/engine.go`, aggregation, aggregationK, aggregationCountValues.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from shim.eval.aggregation import counts, extremes, quantiles, ranks, spread, sums
from shim.eval.aggregation.count_values import count_values
from shim.eval.aggregation.sets import has_sets, sum_with_sets
from shim.eval.budget import Take, free
from shim.eval.grouping import Groups, grouped
from shim.eval.merge import without_empty_rows
from shim.model.errors import BadData, Unsupported
from shim.model.label_naming import EXACT, Naming
from shim.model.values import Annotations, Scalar, String, Vector

#: Floats of one turn: 16 MiB.
_TURN: Final = 1 << 21

Plain = Callable[[Groups, Annotations], Vector]
Parametrised = Callable[[Groups, Scalar, Annotations], Vector]

PLAIN: Final[Mapping[str, Plain]] = {
    "sum": sums.sum_,
    "avg": sums.avg,
    "min": extremes.min_,
    "max": extremes.max_,
    "count": counts.count,
    "group": counts.group,
    "stddev": spread.stddev,
    "stdvar": spread.stdvar,
}
PARAMETRISED: Final[Mapping[str, Parametrised]] = {
    "quantile": quantiles.quantile,
    "topk": ranks.topk,
    "bottomk": ranks.bottomk,
    "limitk": ranks.limitk,
    "limit_ratio": ranks.limit_ratio,
}


def aggregate(
    op: str,
    vector: Vector,
    grouping: Collection[str],
    without: bool,
    param: Scalar | String | None,
    notes: Annotations,
    take: Take = free,
    naming: Naming = EXACT,
) -> Vector:
    """One aggregation at every step; `param` is k, q or the label of count_values.

    `take` is asked for time between turns, and before more is made than was given (count_values).

    Raises BadData for a missing parameter, Unsupported for an operator not built, ExecutionError for a
    parameter Prometheus refuses.
    """
    if op == "count_values":
        if not isinstance(param, String):
            raise BadData("count_values needs a string: the label's name")
        return count_values(vector, grouping, without, param.text, take, naming)
    groups = grouped(vector, grouping, without, naming)
    if op == "sum" and has_sets(vector.labels):
        return without_empty_rows(_in_turns(groups, take, lambda some, _: sum_with_sets(some, notes)))
    if op in PLAIN:
        return without_empty_rows(_in_turns(groups, take, lambda some, _: PLAIN[op](some, notes)))
    if op in PARAMETRISED:
        if not isinstance(param, Scalar):
            raise BadData(f"{op} needs a number as parameter")
        if op == "quantile":
            q = param.values
            return _in_turns(groups, take, lambda g, at: quantiles.quantile(g, Scalar(q[at]), notes))
        return PARAMETRISED[op](replace(groups, take=take), param, notes)
    raise Unsupported(f"aggregation {op} is not supported")


def _in_turns(groups: Groups, take: Take, reduce: Callable[[Groups, slice], Vector]) -> Vector:
    """One row a group, of some steps at once: what is between takes several times their memory."""
    vector = groups.vector
    if vector.histograms or vector.values.size <= _TURN:
        return reduce(groups, slice(0, vector.steps))
    width = max(1, _TURN // len(vector.labels))
    found: list[Vector] = []
    for first in range(0, vector.steps, width):
        take(0)
        at = slice(first, min(first + width, vector.steps))
        values, present = vector.values[:, at], vector.present[:, at]
        some = replace(vector, steps=at.stop - at.start, values=values, present=present)
        found.append(reduce(replace(groups, vector=some), at))
    values = np.concatenate([one.values for one in found], axis=1)
    present = np.concatenate([one.present for one in found], axis=1)
    return replace(found[0], steps=vector.steps, values=values, present=present)
