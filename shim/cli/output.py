"""Formats an answer's JSON for `meterhouse query` and `meterhouse explain`. Pure."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.cli.text_table import number, numbers, table
from shim.cli.chart import Points, chart, mark
from shim.cli.heatmap import heatmap
from shim.cli.times import utc

#: Series drawn in one chart; more are only listed.
MAX_DRAWN: Final = 6


def only_metric(data: Mapping[str, Any]) -> str:
    """Return the metric whose values all series of an answer are, which so have its unit; "" for none.

    Functions that change the unit of values drop the name. Histograms also have counts, which have no unit.
    """
    if data["resultType"] not in ("vector", "matrix") or not data["result"]:
        return ""
    if any("histogram" in series or "histograms" in series for series in data["result"]):
        return ""
    names: set[str] = {series["metric"].get("__name__", "") for series in data["result"]}
    return names.pop() if len(names) == 1 else ""


def answer(data: Mapping[str, Any], width: int, *, draw: bool, colour: bool, unit: str = "") -> str:
    """Format an answer's `data` as a table, and a matrix also as a chart if `draw` is on.

    `unit` is that of all values.
    """
    result = data["result"]
    match data["resultType"]:
        case "scalar":
            return number(float(result[1]))
        case "string":
            return str(result[1])
        case "vector":
            rows = [[series_name(s["metric"]), v] for s, v in zip(result, _samples(result), strict=True)]
            value = f"value ({unit})" if unit else "value"
            return table(("series", value), rows, right=(1,)) if rows else "no series"
        case _:
            shown = _matrix(result, width, draw=draw, colour=colour)
            return f"{shown}\n\nunit: {unit}" if unit else shown


def _samples(result: Sequence[Mapping[str, Any]]) -> list[str]:
    """Format the values of a vector alike."""
    floats = iter(numbers([float(s["value"][1]) for s in result if "value" in s]))
    return [next(floats) if "value" in s else histogram_text(s["histogram"][1]) for s in result]


def _matrix(result: Sequence[Mapping[str, Any]], width: int, *, draw: bool, colour: bool) -> str:
    if not result:
        return "no series"
    lines = [[(float(t), float(v)) for t, v in s.get("values", ())] for s in result]
    out = [_range_table(result, lines)]
    drawn = lines[:MAX_DRAWN]
    if draw and (picture := chart(drawn, width, colour=colour)):
        out.append(f"{picture}\n{_between([t for points in drawn for t, _ in points])}")
        if len(lines) > MAX_DRAWN:
            out[-1] += f"\ndrawn: the first {MAX_DRAWN} of {len(lines)} series"
        if colour and len(lines) > 1:
            names = [series_name(s["metric"]) for s in result[:MAX_DRAWN]]
            out.append("  ".join(f"\x1b[{mark(i)}m━\x1b[0m {n}" for i, n in enumerate(names)))
    if draw and (picture := heatmap(result, width)):
        times = [float(t) for s in result for t, _ in s.get("histograms", ())]
        out.append(f"{picture}\n{_between(times)}")
        if len(result) > 1:
            out[-1] += f"\ndrawn: the sum of {len(result)} series"
    return "\n\n".join(out)


def _range_table(result: Sequence[Mapping[str, Any]], lines: Sequence[Points]) -> str:
    """Return a row for each series, with numbers in one format."""
    cells: list[float] = []
    for points in lines:
        values = [v for _, v in points if not math.isnan(v)]
        cells += [f(values) if values else math.nan for f in (min, _mean, max)]
        cells.append(points[-1][1] if points else math.nan)
    texts = iter(numbers(cells))
    rows = []
    for series, points in zip(result, lines, strict=True):
        histograms = series.get("histograms", ())
        low, mean, high, last = (next(texts) for _ in range(4))
        row = [low, mean, high] if any(not math.isnan(v) for _, v in points) else ["", "", ""]
        last = last if points else histogram_text(histograms[-1][1]) if histograms else ""
        rows.append([series_name(series["metric"]), str(len(points) + len(histograms)), *row, last])
    return table(("series", "points", "min", "avg", "max", "last"), rows, right=range(1, 6))


def _between(times: Sequence[float]) -> str:
    return f"{utc(min(times))} to {utc(max(times))} UTC"


def as_csv(data: Mapping[str, Any]) -> str:
    """Format an answer's `data` as CSV: a column for each label, then time and value.

    Histograms have `count` and `sum` in place of the value.
    """
    result = data["result"]
    if data["resultType"] in ("scalar", "string"):
        result = [{"metric": {}, "value": result}]
    labels = sorted({name for series in result for name in series["metric"]})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*labels, "time", "value", "count", "sum"])
    for series in result:
        row = [series["metric"].get(name, "") for name in labels]
        for at, value in [*series.get("values", ()), *([series["value"]] if "value" in series else ())]:
            writer.writerow([*row, at, value, "", ""])
        one = [series["histogram"]] if "histogram" in series else []
        for at, histogram in [*series.get("histograms", ()), *one]:
            writer.writerow([*row, at, "", histogram["count"], histogram["sum"]])
    return out.getvalue().rstrip("\n")


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else sum(values) / len(values)


def series_name(metric: Mapping[str, str]) -> str:
    """Format a name with its labels, as in PromQL."""
    labels = ", ".join(
        f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in metric.items() if k != "__name__"
    )
    name = metric.get("__name__", "")
    return f"{name}{{{labels}}}" if labels or not name else name


def histogram_text(value: Mapping[str, Any]) -> str:
    """Format count, sum and mean of a histogram."""
    count, total = float(value["count"]), float(value["sum"])
    mean = f" avg {number(total / count)}" if count else ""
    return f"count {number(count)} sum {number(total)}{mean}"


def explanation(stages: Any) -> str:
    """Format the stages of `explain=1`, each under its name: SQL with its cost, other values as JSON."""
    if not isinstance(stages, Mapping):
        return _text(stages)
    return "\n\n".join(f"-- {name}\n{_readable(_text(stage))}" for name, stage in stages.items())


def _readable(text: str) -> str:
    """Write the times of a plan for people: `@1795905650s..1795906250s/10s`. Those of SQL stay."""
    time = r"(\d{9,14}(?:\.\d+)?(?:ms|s))"
    return re.sub(
        rf"@{time}(?:\.\.{time})?", lambda m: "@" + "..".join(map(_iso, filter(None, m.groups()))), text
    )


def _iso(time: str) -> str:
    """Write `1795905650s` or `1795905650500ms` as RFC 3339."""
    seconds = float(time[:-2]) / 1000 if time.endswith("ms") else float(time[:-1])
    whole = utc(int(seconds)).replace(" ", "T")
    return f"{whole}{f'{seconds % 1:.3f}'[1:].rstrip('0').rstrip('.')}Z"


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
