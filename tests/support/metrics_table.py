"""The tables of all self-metrics, made from the metrics' own source; docs/metrics.md holds them.

python -m tests.support.metrics_table    writes them there
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics import MetricWrapperBase

from agent.telemetry.metric_families import FAMILIES
from indexer.metrics import Metrics
from shim.metrics import ShimMetrics
from tests.support.markdown import ROOT, table, write_between

FILE: Final = ROOT / "docs" / "metrics.md"
MARK: Final = "tests.support.metrics_table"

Row = tuple[str, str, str, str]


def rows() -> Iterator[Row]:
    """(name, type, labels, help) of every metric of the agent, the indexer and the shim."""
    for family in FAMILIES:
        yield family.name, family.type, family.label, family.help
    for metrics in (Metrics(), ShimMetrics()):
        for collector in vars(metrics).values():
            if isinstance(collector, MetricWrapperBase):
                yield _row(collector)


def _row(collector: MetricWrapperBase) -> Row:
    (described,) = collector.describe()
    name = described.name + ("_total" if described.type == "counter" else "")
    return name, described.type, ", ".join(collector._labelnames), described.documentation


def tables() -> str:
    """One table for each part, as Markdown."""
    out = []
    for part in ("agent", "indexer", "shim"):
        mine = [r for r in rows() if r[0].startswith(f"meterhouse_{part}_")]
        cells = [(f"`{name}`", kind, labels, text) for name, kind, labels, text in mine]
        out.append(f"## {part}\n\n{table(('metric', 'type', 'labels', 'meaning'), cells)}")
    return "\n\n".join(out)


if __name__ == "__main__":
    write_between(FILE, MARK, tables())
