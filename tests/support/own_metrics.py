"""Meterhouse's own metrics in its alerts, and the metrics that an expression names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from shim.promql.ast import Expr, MatrixSelector, VectorSelector, children
from tests.support.markdown import ROOT
from tests.support.metrics_table import rows

#: The uid of the data source whose Prometheus scrapes Meterhouse's parts.
OWN_SOURCE: Final = "meterhouse-itself"
PROMETHEUS: Final = ROOT / "deploy" / "prometheus"
RULES: Final = PROMETHEUS / "meterhouse.rules.yml"
RULE_TESTS: Final = PROMETHEUS / "meterhouse.rules.test.yml"


def known_names() -> set[str]:
    """Return the series of all metrics of docs/metrics.md, and `up`."""
    names = {"up"}
    for name, kind, _, _ in rows():
        names |= {f"{name}_{end}" for end in ("bucket", "count", "sum")} if kind == "histogram" else {name}
    return names


def names_in(node: Expr) -> Iterator[str]:
    """Yield the metrics that an expression selects."""
    if isinstance(node, MatrixSelector):
        node = node.vector_selector
    if isinstance(node, VectorSelector):
        yield node.name
    for _, child in children(node):
        yield from names_in(child)
