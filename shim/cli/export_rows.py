"""Rows of an export: one for each series and bucket of an answer, as CSV or OpenMetrics text. Pure.

CSV has the columns of `meterhouse backfill`, so that counters and gauges can be sent again, and more for
distributions. OpenMetrics has cumulative counters, from 0 in the file.
"""

from __future__ import annotations

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
#: Ends of names in OpenMetrics of the types that are cumulative there.
_SUFFIXES: Final[Mapping[str, Sequence[str]]] = {"counter": ("_total",), "histogram": ("_count", "_sum")}
_SET_HELP: Final = "StatsD set "
#: A name in braces, as in `{"shop.requests", route="/"}`.
_QUOTED_NAME: Final = re.compile(r'^"(?:[^"\\]|\\.)*"\s*(?:,|$)')
#: Text that CSV has in quotes.
_IN_QUOTES: Final = re.compile(r'[,"\r\n]')
#: Digits of an integer that a float may not have exactly.
_MAX_DIGITS: Final = 16
#: Names that need no quotes.
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Labels = tuple[tuple[str, str], ...]
_Points = Sequence[tuple[int, float | Mapping[str, Any]]]


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


class CsvRows:
    """The rows of one metric as CSV: series come one by one, and rows leave in the order of time.

    Each value is at the beginning of its bucket, of gauges at its end, so that a file that is sent again
    gives the same answers: the window of a gauge has its end, not its beginning. Zeros of counters and sets
    are left out: nothing came.
    """

    def __init__(self, name: str, kind: str, step_s: int) -> None:
        self._kind = kind
        self._back_s = 1 if kind == "gauge" else step_s
        self._start = f"{_csv_field(name)},{QUERIES[kind][1]},"
        self._rows: dict[int, bytearray] = {}
        self.count = 0

    def add(self, series: Mapping[str, Any]) -> None:
        """Add the values of a series."""
        tags = _csv_field(",".join(f"{k}:{v}" for k, v in _labels(series)))
        for end_s, value in series.get("values", ()):
            text = _value_text(value)
            if text != "0" or self._kind == "gauge":
                self._add(int(end_s), text, f",{tags},,,\n")
        for end_s, of_step in series.get("histograms", ()):
            if float(of_step["count"]):
                buckets = _csv_field(json.dumps(of_step.get("buckets", []), separators=(",", ":")))
                self._add(int(end_s), "", f",{tags},{of_step['count']},{of_step['sum']},{buckets}\n")

    def _add(self, end_s: int, value: str, rest: str) -> None:
        row = f"{self._start}{value},{end_s - self._back_s}{rest}".encode()
        if (rows := self._rows.get(end_s)) is None:
            rows = self._rows[end_s] = bytearray()
        rows += row
        self.count += 1

    def take(self) -> list[bytearray]:
        """Return the rows since the last call, of one time after another."""
        rows, self._rows, self.count = self._rows, {}, 0
        return [rows[at] for at in sorted(rows)]


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
        labels = _labels(series)
        if self._kind not in _SUFFIXES:
            named = _named(self._name, labels)
            for end_s, value in _points(series):
                if not isinstance(value, Mapping) and (value or self._kind == "gauge"):
                    yield f"{named} {_number(value)} {end_s - 1}\n"
            return
        totals: list[float] = []
        names = [_named(f"{self._name}{suffix}", labels) for suffix in _SUFFIXES[self._kind]]
        for end_s, value in _points(series):
            added = [float(value["count"]), float(value["sum"])] if isinstance(value, Mapping) else [value]
            if not added[0]:
                continue  # it has not begun, or nothing came
            if not totals:
                totals = [0.0] * len(added)
                yield from (f"{named} 0 {end_s - 1 - step_s}\n" for named in names)
            totals = [total + more for total, more in zip(totals, added, strict=True)]
            for named, total in zip(names, totals, strict=True):
                yield f"{named} {_number(total)} {end_s - 1}\n"


def _labels(series: Mapping[str, Any]) -> Labels:
    return tuple((k, v) for k, v in sorted(series["metric"].items()) if k != "__name__")


def _points(series: Mapping[str, Any]) -> _Points:
    """Yield the time and value of each point, oldest first."""
    points: list[tuple[int, float | Mapping[str, Any]]]
    points = [(int(t), float(v)) for t, v in series.get("values", ())]
    points += [(int(t), v) for t, v in series.get("histograms", ())]
    return sorted(points, key=lambda point: point[0])


def _value_text(text: str) -> str:
    """Return a value of the API as a number; most are integers already."""
    return text if text.isdecimal() and len(text) < _MAX_DIGITS else _number(float(text))


def _csv_field(text: str) -> str:
    """Return a field of RFC 4180."""
    return '"' + text.replace('"', '""') + '"' if _IN_QUOTES.search(text) else text


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
