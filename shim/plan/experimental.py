"""Functions and modifiers that are experimental in Prometheus; the setting is `shim.experimental`. Pure.

Source: Prometheus 3.x `promql/parser/functions.go` and its feature flags `promql-experimental-functions` and
`promql-binop-fill-modifiers`.
"""

from __future__ import annotations

from typing import Final

from shim.eval.aggregate import AGGREGATIONS
from shim.eval.functions.registry import FUNCTIONS
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model.errors import Unsupported
from shim.plan.nodes import PlanContext

#: Functions that the planner turns into something else, and all others whose record says so.
EXPERIMENTAL: Final = frozenset({
    "end", "info", "range", "start", "step",
    *(f.name for f in FUNCTIONS.values() if f.experimental),
    *(f.name for f in RANGE_FUNCTIONS.values() if f.experimental),
    *(one.name for one in AGGREGATIONS.values() if one.experimental),
})  # fmt: skip


def check_function(name: str, context: PlanContext) -> None:
    """Raise Unsupported for a function or an aggregation that the setting turns off."""
    if name in EXPERIMENTAL and not context.experimental:
        raise Unsupported(f'parse error: experimental function "{name}" is not enabled')


def check_fill(context: PlanContext) -> None:
    """Raise Unsupported for fill modifiers that the setting turns off."""
    if not context.experimental:
        raise Unsupported("parse error: experimental fill modifiers are not enabled")
