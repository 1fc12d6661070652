"""Aggregation over series, such as `sum by (x) (...)`. Pure.

Source: Prometheus 3.x `promql/engine.go`, aggregation, aggregationK, aggregationCountValues.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from shim.eval import aggregation
from shim.eval.aggregator import AggregationInput, AggregationOperator
from shim.eval.budget import Take, free
from shim.model.errors import BadData, Unsupported
from shim.model.label_naming import EXACT, LabelNaming
from shim.model.values import Annotations, Scalar, String, Vector


def _records() -> Iterator[AggregationOperator]:
    for found in pkgutil.iter_modules(aggregation.__path__):
        module = importlib.import_module(f"{aggregation.__name__}.{found.name}")
        yield from getattr(module, "AGGREGATIONS", ())


#: All operators by name: a new one is a new file in `shim/eval/aggregation/`.
AGGREGATIONS: Final[Mapping[str, AggregationOperator]] = MappingProxyType(
    {one.name: one for one in _records()}
)


def aggregate(
    op: str,
    vector: Vector,
    grouping: Collection[str],
    without: bool,
    param: Scalar | String | None,
    notes: Annotations,
    take: Take = free,
    naming: LabelNaming = EXACT,
) -> Vector:
    """Aggregate at every step; `param` is k, q or the label of count_values.

    `take` is asked for time during long loops, and for memory before count_values makes more series than it
    was given.

    Raises: BadData for a missing parameter, Unsupported for an unknown operator, ExecutionError for a
    parameter that Prometheus rejects.
    """
    record = AGGREGATIONS.get(op)
    if record is None:
        raise Unsupported(f"aggregation {op} is not supported")
    if record.parameter == "string" and not isinstance(param, String):
        raise BadData(f"{op} needs a string: the label's name")
    if record.parameter == "scalar" and not isinstance(param, Scalar):
        raise BadData(f"{op} needs a number as parameter")
    return record.apply(AggregationInput(vector, grouping, without, param, notes, take, naming))
