"""Which constructs are built: the planner asks before anything is read, and the generated docs. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from shim.eval.aggregate import PARAMETRISED, PLAIN
from shim.eval.functions.registry import FUNCTIONS
from shim.eval.range.registry import RANGE_FUNCTIONS

#: Range functions of ours that Prometheus does not have, and those the planner builds out of others.
_OWN = frozenset({"uniq_over_time", "absent_over_time"})

#: Binary operators, in Prometheus' order.
OPERATORS: Final = (
    "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless",
)  # fmt: skip


def functions() -> Collection[str]:
    """Functions without a range vector among their arguments."""
    return FUNCTIONS.keys()


def range_functions() -> Collection[str]:
    """Functions of a range vector."""
    return RANGE_FUNCTIONS.keys() | _OWN


def aggregations() -> Collection[str]:
    """Aggregation operators."""
    return PLAIN.keys() | PARAMETRISED.keys() | {"count_values"}
