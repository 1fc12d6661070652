"""The constructs that are built, for the parser, the planner and the generated documents. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from shim.eval.aggregate import AGGREGATIONS
from shim.eval.functions.registry import FUNCTIONS
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.promql.functions import Signature

#: Functions of the query's times, which the planner turns into numbers.
OF_THE_QUERY: Final = frozenset({"start", "end", "range", "step"})

#: Binary operators, in Prometheus' order.
OPERATORS: Final = (
    "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless",
)  # fmt: skip


def signature(name: str) -> Signature | None:
    """Return the signature of the function with this name, for the parser; None where there is none."""
    if name in OF_THE_QUERY:
        return Signature((), "scalar")
    if name == "info":
        return Signature(("vector", "vector"), "vector", 1)
    if function := FUNCTIONS.get(name):
        return function.signature
    ranged = RANGE_FUNCTIONS.get(name)
    return None if ranged is None else Signature(ranged.args, "vector")


def functions() -> Collection[str]:
    """Return the functions without a range vector among their arguments."""
    return FUNCTIONS.keys() | OF_THE_QUERY | {"info"}


def range_functions() -> Collection[str]:
    """Return the functions of a range vector."""
    return RANGE_FUNCTIONS.keys()


def aggregations() -> Collection[str]:
    """Return the aggregation operators."""
    return AGGREGATIONS.keys()
