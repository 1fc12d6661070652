"""PromQL with the functions that are built -> syntax tree. Pure."""

from __future__ import annotations

from shim.plan.supported import signature
from shim.promql import parser
from shim.promql.ast import Expr, VectorSelector
from shim.promql.modifiers import DurationContext
from shim.promql.query_size import MAX_QUERY_BYTES


def parse(text: str, durations: DurationContext | None = None, max_bytes: int = MAX_QUERY_BYTES) -> Expr:
    """Return the syntax tree of a query; `durations` allows experimental durations and modifiers.

    A text of many bytes takes a second of CPU (1 MiB of matchers): not for an event loop. Raises BadData.
    """
    return parser.parse(text, signature, durations, max_bytes)


def parse_selector(text: str, max_bytes: int = MAX_QUERY_BYTES) -> VectorSelector:
    """Return the syntax tree of a series selector without modifiers, as in `match[]`. Raises BadData."""
    return parser.parse_selector(text, signature, max_bytes)
