"""Formats an answer's JSON for `meterhouse query` and `meterhouse explain`. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from agent.cli.text_table import number, table
from shim.cli.chart import chart, mark

#: Series drawn in one chart; more are only listed.
MAX_DRAWN: Final = 6


def answer(data: Mapping[str, Any], width: int, *, draw: bool, colour: bool) -> str:
    """Format an answer's `data` as a table, and a matrix also as a chart if `draw` is on."""
    result = data["result"]
    match data["resultType"]:
        case "scalar":
            return number(float(result[1]))
        case "string":
            return str(result[1])
        case "vector":
            rows = [[_name(s["metric"]), _sample(s)] for s in result]
            return table(("series", "value"), rows, right=(1,)) if rows else "no series"
        case _:
            return _matrix(result, width, draw=draw, colour=colour)


def _matrix(result: Sequence[Mapping[str, Any]], width: int, *, draw: bool, colour: bool) -> str:
    if not result:
        return "no series"
    lines = [[(float(t), float(v)) for t, v in s.get("values", ())] for s in result]
    rows = []
    for series, points in zip(result, lines, strict=True):
        values = [v for _, v in points if not math.isnan(v)]
        histograms = series.get("histograms", ())
        cells = [number(f(values)) if values else "" for f in (min, _mean, max)]
        last = number(points[-1][1]) if points else _histogram(histograms[-1][1]) if histograms else ""
        rows.append([_name(series["metric"]), str(len(points) + len(histograms)), *cells, last])
    out = [table(("series", "points", "min", "avg", "max", "last"), rows, right=range(1, 6))]
    picture = chart(lines[:MAX_DRAWN], width, colour=colour) if draw else ""
    if picture:
        times = [t for points in lines[:MAX_DRAWN] for t, _ in points]
        out.append(f"{picture}\n{_clock(min(times))} to {_clock(max(times))} UTC")
        if colour and len(lines) > 1:
            names = [_name(s["metric"]) for s in result[:MAX_DRAWN]]
            out.append("  ".join(f"\x1b[{mark(i)}m━\x1b[0m {n}" for i, n in enumerate(names)))
    return "\n\n".join(out)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else sum(values) / len(values)


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _name(metric: Mapping[str, str]) -> str:
    labels = ", ".join(
        f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in metric.items() if k != "__name__"
    )
    name = metric.get("__name__", "")
    return f"{name}{{{labels}}}" if labels or not name else name


def _sample(series: Mapping[str, Any]) -> str:
    if "value" in series:
        return number(float(series["value"][1]))
    return _histogram(series["histogram"][1])


def _histogram(value: Mapping[str, Any]) -> str:
    count, total = float(value["count"]), float(value["sum"])
    mean = f" avg {number(total / count)}" if count else ""
    return f"count {number(count)} sum {number(total)}{mean}"


def explanation(stages: Any) -> str:
    """Format the stages of `explain=1`, each under its name: SQL with its cost, other values as JSON."""
    if not isinstance(stages, Mapping):
        return _text(stages)
    return "\n\n".join(f"-- {name}\n{_text(stage)}" for name, stage in stages.items())


def _statement(statement: Mapping[str, Any]) -> str:
    cost = ", ".join(f"{name} {_text(value)}" for name, value in statement.items() if name != "sql")
    return f"{statement['sql']}\n-- {cost}" if cost else str(statement["sql"])


def _text(stage: Any) -> str:
    if isinstance(stage, str):
        return stage.rstrip()
    if isinstance(stage, list) and all(isinstance(s, str) for s in stage):
        return "\n".join(s.rstrip() for s in stage)
    if isinstance(stage, list) and all(isinstance(s, Mapping) and "sql" in s for s in stage):
        return "\n\n".join(_statement(s) for s in stage) or "none"
    if isinstance(stage, Mapping):
        return "\n".join(f"{name}: {_text(value)}" for name, value in stage.items())
    return json.dumps(stage, indent=2, ensure_ascii=False)
