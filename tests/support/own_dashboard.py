"""The dashboard and the alerts for Meterhouse itself, and the metrics that an expression names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shim.promql.ast import Expr, MatrixSelector, VectorSelector, children
from tests.support.markdown import ROOT
from tests.support.metrics_table import rows

DASHBOARD: Final = ROOT / "deploy" / "grafana" / "dashboards" / "meterhouse-itself.json"
PROMETHEUS: Final = ROOT / "deploy" / "prometheus"
RULES: Final = PROMETHEUS / "meterhouse.rules.yml"
RULE_TESTS: Final = PROMETHEUS / "meterhouse.rules.test.yml"


def queries(rate_interval: str, path: Path = DASHBOARD) -> dict[str, list[str]]:
    """Return the expressions of each panel, for all instances."""
    panels = [p for p in json.loads(path.read_text())["panels"] if p["type"] != "row"]
    return {panel["title"]: [_filled(t["expr"], rate_interval) for t in panel["targets"]] for panel in panels}


def _filled(expr: str, rate_interval: str) -> str:
    return expr.replace("$__rate_interval", rate_interval).replace("$instance", ".*")


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
