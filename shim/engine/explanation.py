"""How a query was answered: its plan, statements, times and samples, and notes about the data read.

Reads the counters of a reader whose work is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shim.model.fine_ranges import fine_range
from shim.model.values import Annotations
from shim.plan.nodes import Node
from shim.plan.text import render
from shim.promql.ast import Expr
from shim.promql.printer import format_query
from shim.read.reader import Reader


@dataclass(frozen=True, slots=True)
class Planned:
    """A parsed query with its plan before and after optimisation."""

    tree: Expr
    built: Node
    plan: Node


def note_readings(notes: Annotations, reader: Reader) -> None:
    """Note where data was read in another granularity or window than was asked for."""
    for granularity_s in sorted(reader.snapped_to_s):
        notes.info(_snapped(granularity_s))
    for window_ms in sorted(reader.widened_ms):
        notes.info(_widened(window_ms))
    for granularity_s, range_s in sorted(reader.fine_s.items()):
        notes.info(fine_range(range_s, granularity_s))


def _snapped(granularity_s: int) -> str:
    return (
        f"finer data than {granularity_s}s is gone for this time: windows are counted in whole"
        f" {granularity_s}s buckets"
    )


def _widened(window_ms: int) -> str:
    counted_s = -(-window_ms // 10_000) * 10
    return f"deltas are kept in buckets of 10s: a window of {window_ms / 1000:g}s is counted as {counted_s}s"


def explained(planned: Planned, reader: Reader, timings: Mapping[str, float]) -> Mapping[str, Any]:
    """Return every stage, JSON-ready: the parsed query, the plan before and after the rules, the reads."""
    memory = [
        {"blocks": dict(r.blocks), "rows": r.rows, "wall_ms": round(r.wall_ms, 3)} for r in reader.recalled
    ]
    return {
        "query": format_query(planned.tree),
        "plan": render(planned.built).splitlines(),
        "optimized": render(planned.plan).splitlines(),
        "statements": [
            {
                "sql": s.sql,
                "rows": s.rows,
                "wall_ms": round(s.wall_ms, 3),
                **({"sent": s.sent} if s.sent else {}),
            }
            for s in reader.statements
        ],
        "from_memory": memory,
        "timings": {k: round(v, 3) for k, v in timings.items()},
    }


def statistics(reader: Reader, timings: Mapping[str, float]) -> Mapping[str, Any]:
    """Return Prometheus' statistics where they apply: times in seconds, samples = rows read."""
    rows = sum(s.rows for s in reader.statements) + sum(r.rows for r in reader.recalled)
    return {
        "timings": {
            "evalTotalTime": sum(timings.values()) / 1000,
            "resultSortTime": 0.0,
            "queryPreparationTime": timings["prepared_ms"] / 1000,
            "innerEvalTime": timings["evaluated_ms"] / 1000,
            "execQueueTime": 0.0,
            "execTotalTime": sum(timings.values()) / 1000,
        },
        "samples": {"totalQueryableSamples": rows, "peakSamples": rows},
    }
