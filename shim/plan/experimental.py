"""What Prometheus calls experimental and hides behind a flag; here the setting is `shim.experimental`. Pure.

Source: Prometheus 3.x `promql/parser/functions.go` and its feature flags `promql-experimental-functions` and
`promql-binop-fill-modifiers`.
"""

from __future__ import annotations

from typing import Final

from shim.errors import Unsupported
from shim.plan.nodes import Context

#: Functions and aggregations.
EXPERIMENTAL: Final = frozenset({
    "double_exponential_smoothing", "end", "histogram_quantiles", "info", "limit_ratio",
    "limitk", "mad_over_time", "max_of", "min_of", "range", "sort_by_label", "sort_by_label_desc", "start",
    "start_timestamp", "step", "ts_of_first_over_time", "ts_of_last_over_time", "ts_of_max_over_time",
    "ts_of_min_over_time",
})  # fmt: skip


def check_function(name: str, context: Context) -> None:
    """Raises Unsupported for a function or an aggregation that the setting turns off."""
    if name in EXPERIMENTAL and not context.experimental:
        raise Unsupported(f'parse error: experimental function "{name}" is not enabled')


def check_fill(context: Context) -> None:
    """Raises Unsupported for fill modifiers that the setting turns off."""
    if not context.experimental:
        raise Unsupported("parse error: experimental fill modifiers are not enabled")
