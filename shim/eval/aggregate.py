"""Aggregation over series: `sum by (x) (...)` and its kin. Pure.

Source of behaviour: Prometheus 3.x `promql/engine.go`, aggregation, aggregationK, aggregationCountValues.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from shim.errors import BadData, Unsupported
from shim.eval.aggregation import counts, extremes, quantiles, ranks, spread, sums
from shim.eval.aggregation.count_values import count_values
from shim.eval.aggregation.sets import sum_with_sets
from shim.eval.grouping import Groups, grouped
from shim.eval.merge import without_empty_rows
from shim.naming import EXACT, Naming
from shim.values import Annotations, Scalar, String, Vector

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
    check_cells: Callable[[int], None] | None = None,
    naming: Naming = EXACT,
) -> Vector:
    """One aggregation at every step; `param` is k, q or the label of count_values. `check_cells` refuses
    results that are too large: only count_values can make more than it was given.

    Raises BadData for a missing parameter, Unsupported for an operator not built, ExecutionError for a
    parameter Prometheus refuses.
    """
    if op == "count_values":
        if not isinstance(param, String):
            raise BadData("count_values needs a string: the label's name")
        return count_values(vector, grouping, without, param.text, check_cells, naming)
    groups = grouped(vector, grouping, without, naming)
    if op == "sum":
        return without_empty_rows(sum_with_sets(groups, notes))
    if op in PLAIN:
        return without_empty_rows(PLAIN[op](groups, notes))
    if op in PARAMETRISED:
        if not isinstance(param, Scalar):
            raise BadData(f"{op} needs a number as parameter")
        return PARAMETRISED[op](groups, param, notes)
    raise Unsupported(f"aggregation {op} is not supported")
