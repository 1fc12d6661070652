"""Rows of an export: one for each series and bucket of an answer, as CSV or OpenMetrics text. Pure.

CSV has the columns of `meterhouse backfill`, so that counters and gauges can be sent again, and more for
distributions. OpenMetrics has cumulative counters, from 0 in the file.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

COLUMNS: Final = ("name", "type", "value", "timestamp", "tags", "count", "sum", "buckets")
#: Type by the metadata of the API -> the query of one step's value, and the type in the file.
QUERIES: Final[Mapping[str, tuple[str, str]]] = {
    "counter": ("increase({selector}[{step}s])", "counter"),
    "gauge": ("last_over_time({selector}[{step}s])", "gauge"),
    "set": ("sum_over_time({selector}[{step}s])", "distinct"),
    "histogram": ("increase({selector}[{step}s])", "distribution"),
}
_SET_HELP: Final = "StatsD set "
#: A name in braces, as in `{"shop.requests", route="/"}`.
_QUOTED_NAME: Final = re.compile(r'^"(?:[^"\\]|\\.)*"\s*(?:,|$)')
#: Names that need no quotes.
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Labels = tuple[tuple[str, str], ...]
_Points = Iterator[tuple[Labels, int, float | Mapping[str, Any]]]


def kind_of(metadata: Mapping[str, str]) -> str:
    """Return the key of QUERIES for an entry of the API's metadata; empty if it cannot be exported."""
    if metadata.get("type") == "gauge" and metadata.get("help", "").startswith(_SET_HELP):
        return "set"
    return kind if (kind := metadata.get("type", "")) in QUERIES else ""


def selector_of(name: str, selector: str, kind: str = "") -> str:
    """Return the selector for one of the metrics that it selects; `kind`: of its series of that type."""
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    _, _, inside = selector.strip().partition("{")
    matchers = _QUOTED_NAME.sub("", inside.removesuffix("}").strip().rstrip(","), count=1).strip()
    typed = f',__type__="{kind}"' if kind else ""
    return f"{{__name__={quoted}{typed}{f',{matchers}' if matchers else ''}}}"


def csv_rows(name: str, kind: str, series: Sequence[Mapping[str, Any]], step_s: int) -> str:
    """Format the values of an answer as CSV, each at the beginning of its bucket, of gauges at its end.

    So a file that is sent again gives the same answers: the window of a gauge has its end, not its beginning.
    Zeros of counters and sets are left out: nothing came.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    said = QUERIES[kind][1]
    for labels, end_s, value in _points(series):
        tags = ",".join(f"{k}:{v}" for k, v in labels)
        if not isinstance(value, Mapping):
            if value or kind == "gauge":
                at = end_s - 1 if kind == "gauge" else end_s - step_s
                writer.writerow((name, said, _number(value), at, tags, "", "", ""))
        elif float(value["count"]):
            buckets = json.dumps(value.get("buckets", []), separators=(",", ":"))
            writer.writerow((name, said, "", end_s - step_s, tags, value["count"], value["sum"], buckets))
    return out.getvalue()


class OpenMetricsRows:
    """Formats series of one metric and type, each of them whole."""

    def __init__(self, name: str, kind: str) -> None:
        self._name = name
        self._kind = kind

    def head(self) -> str:
        """Return the metric's type. A distribution is a summary: its count and its sum."""
        kind = {"counter": "counter", "histogram": "summary"}.get(self._kind, "gauge")
        return f"# TYPE {self._name if _is_plain(self._name) else _quoted(self._name)} {kind}\n"

    def rows(self, series: Sequence[Mapping[str, Any]], step_s: int) -> str:
        """Format whole series, one after another, each value at the last second of its bucket.

        Source: OpenMetrics 1.0, the points of a metric are together and in the order of time.
        """
        return "".join(line for one in series for line in self._lines(one, step_s))

    def _lines(self, series: Mapping[str, Any], step_s: int) -> Iterator[str]:
        totals: list[float] = []
        for labels, end_s, value in _points([series]):
            added: tuple[tuple[str, float], ...]
            if isinstance(value, Mapping):
                added = (("_count", float(value["count"])), ("_sum", float(value["sum"])))
            elif self._kind == "counter":
                added = (("_total", value),)
            else:
                if value or self._kind == "gauge":
                    yield f"{_named(self._name, labels)} {_number(value)} {end_s - 1}\n"
                continue
            if not added[0][1]:
                continue  # it has not begun, or nothing came
            names = [_named(f"{self._name}{suffix}", labels) for suffix, _ in added]
            if not totals:
                totals = [0.0] * len(added)
                yield from (f"{named} 0 {end_s - 1 - step_s}\n" for named in names)
            totals = [total + more for total, (_, more) in zip(totals, added, strict=True)]
            for named, total in zip(names, totals, strict=True):
                yield f"{named} {_number(total)} {end_s - 1}\n"


def _points(series: Sequence[Mapping[str, Any]]) -> _Points:
    """Yield the labels, time and value of each point, all series of a time together, oldest first."""
    points: list[tuple[int, int, Labels, float | Mapping[str, Any]]] = []
    for number, one in enumerate(series):
        labels = tuple((k, v) for k, v in sorted(one["metric"].items()) if k != "__name__")
        points += [(int(t), number, labels, float(v)) for t, v in one.get("values", ())]
        points += [(int(t), number, labels, v) for t, v in one.get("histograms", ())]
    for at, _, labels, value in sorted(points, key=lambda point: point[:2]):
        yield labels, at, value


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _named(name: str, labels: Labels) -> str:
    """Return `name{label="value"}`; names of UTF-8 in quotes, as Prometheus 3 writes them."""
    pairs = [f"{k if _LABEL.fullmatch(k) else _quoted(k)}={_quoted(v)}" for k, v in labels]
    if not _is_plain(name):
        return f"{{{','.join([_quoted(name), *pairs])}}}"
    return f"{name}{{{','.join(pairs)}}}" if pairs else name


def _is_plain(name: str) -> bool:
    return _METRIC.fullmatch(name) is not None


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
