"""OpenMetrics text: cumulative counters become deltas, gauges stay as they are, each at its own time.

Source: OpenMetrics 1.0; resets as Prometheus 3.x `increase` treats them.

* Counters (`x_total`; `_bucket`, `_count`, `_sum` of histograms; `_count`, `_sum` of summaries): the first
  sample of a series is a base and adds nothing. Each later one adds its difference to the one before, or its
  whole value where it is smaller (a reset). A sample that is not later than the one before is bad.
* Buckets of a histogram are counters with their `le`, as in Prometheus; they do not become a distribution.
* Gauges: gauge, unknown, info, stateset, gaugehistogram, quantiles of a summary, and samples without a TYPE.
* `_created` and exemplars add nothing and are counted. NaN and infinities are bad: a frame holds neither.
* Every sample needs its timestamp, in seconds. Bytes after `# EOF`, and a missing `# EOF`, are bad.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from agent.aggregate.aggregator import Aggregator
from agent.backfill.metric_keys import metric_key
from agent.backfill.samples import IN_THE_FUTURE, LeftOut, Sample
from agent.protocol.line import Kind, Limits, Line, Reason, number

_NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_SAMPLE: Final = re.compile(
    rf"({_NAME})(?:\{{((?:[^\"}}]|{_QUOTED})*)\}})?[ \t]+([^\s#]+)(?:[ \t]+([^\s#]+))?(?:[ \t]+(#.*))?[ \t]*"
)
_LABEL: Final = re.compile(rf"[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*({_QUOTED})[ \t]*(?:,|$)")
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPES: Final[Mapping[str, str]] = {"n": "\n"}
_TYPE: Final = re.compile(rf"# TYPE ({_NAME}) ([a-z]+)")
_NOT_FINITE: Final = frozenset({"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"})

#: Type -> suffixes of samples that are counters, that are gauges. A type not listed is unknown.
_SUFFIXES: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "counter": (frozenset({"_total", ""}), frozenset()),
    "gauge": (frozenset(), frozenset({""})),
    "histogram": (frozenset({"_bucket", "_count", "_sum"}), frozenset()),
    "gaugehistogram": (frozenset(), frozenset({"_bucket", "_gcount", "_gsum"})),
    "summary": (frozenset({"_count", "_sum"}), frozenset({""})),
    "info": (frozenset(), frozenset({"_info", ""})),
    "stateset": (frozenset(), frozenset({""})),
    "unknown": (frozenset(), frozenset({""})),
}
_ALL_SUFFIXES: Final = ("", "_total", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info", "_created")
_WITH_CREATED: Final = frozenset({"counter", "histogram", "summary"})

_SeriesKey = tuple[str, tuple[tuple[str, str], ...]]


class OpenMetricsConverter:
    """Tracks the last value of each counter of a file, for at most `max_series` (0: all).

    A sample later than `newest_ms` changes no counter, since later samples could not follow it.
    """

    def __init__(self, limits: Limits, max_series: int, newest_ms: int) -> None:
        self._limits = limits
        self._max_series = max_series
        self._newest_ms = newest_ms
        self._types: dict[str, str] = {}
        self._last: dict[_SeriesKey, tuple[int, float]] = {}
        self._ended = False

    def convert(self, line: bytes, aggregator: Aggregator) -> Iterator[Sample | LeftOut]:  # noqa: ARG002
        """Convert a line; counters become deltas."""
        line = line.removesuffix(b"\r")
        if not line:
            return
        if self._ended:
            yield LeftOut("after_eof")
        elif len(line) > self._limits.max_line_bytes:
            yield LeftOut(Reason.LINE_TOO_LONG.value)
        else:
            try:
                text = line.decode()
            except UnicodeDecodeError:
                yield LeftOut(Reason.INVALID_UTF8.value)
                return
            yield from self._comment(text) if text.startswith("#") else self._sample(text)

    def end(self) -> Iterable[LeftOut]:
        """Report a missing `# EOF`."""
        return () if self._ended else (LeftOut("no_eof"),)

    def _comment(self, text: str) -> Iterator[LeftOut]:
        if text == "# EOF":
            self._ended = True
        elif found := _TYPE.fullmatch(text.rstrip()):
            name, kind = found.groups()
            if self._max_series and len(self._types) >= self._max_series and name not in self._types:
                yield LeftOut("too_many_series")
            else:
                self._types[name] = kind if kind in _SUFFIXES else "unknown"
        elif text.startswith("# TYPE "):
            yield LeftOut("bad_type")

    def _sample(self, text: str) -> Iterator[Sample | LeftOut]:
        found = _SAMPLE.fullmatch(text)
        labels = _labels(found[2] or "") if found else None
        if found is None or labels is None:
            yield LeftOut("bad_syntax")
            return
        kind = self._kind(found[1])
        if kind is None:
            yield LeftOut("unexpected_sample")
        elif isinstance(kind, LeftOut):
            yield kind
        else:
            if found[5]:
                yield LeftOut("exemplar", bad=False)
            yield self._timed(kind, found[1], labels, found[3], found[4])

    def _kind(self, name: str) -> Kind | LeftOut | None:
        """Return the kind of a sample's name; None if the TYPE of that name has no such samples.

        A name that only shares a family's prefix does not belong to it: its samples have no TYPE.
        """
        for suffix in _ALL_SUFFIXES:
            family = name.removesuffix(suffix) if name.endswith(suffix) else ""
            of_type = self._types.get(family) if family else None
            if of_type is None:
                continue
            counters, gauges = _SUFFIXES[of_type]
            if suffix in counters:
                return Kind.COUNTER
            if suffix in gauges:
                return Kind.GAUGE
            if suffix == "_created" and of_type in _WITH_CREATED:
                return LeftOut("created", bad=False)
        return None if name in self._types else Kind.GAUGE

    def _timed(
        self, kind: Kind, name: str, labels: Mapping[str, str], raw: str, at: str | None
    ) -> Sample | LeftOut:
        value = number(raw.encode())
        if value is None:
            return LeftOut("not_finite" if raw.lower() in _NOT_FINITE else Reason.BAD_VALUE.value)
        if at is None:
            return LeftOut("no_timestamp")
        seconds = number(at.encode())
        if seconds is None or not 0 <= seconds < 1e12:
            return LeftOut(Reason.BAD_TIMESTAMP.value)
        head = metric_key(kind, name, labels, self._limits)
        if isinstance(head, Reason):
            return LeftOut(head.value)
        time_ms = round(seconds * 1000)
        if time_ms > self._newest_ms:
            return LeftOut(IN_THE_FUTURE)
        if kind is Kind.COUNTER:
            delta = self._delta((name, head.tags), time_ms, value)
            return delta if isinstance(delta, LeftOut) else Sample(Line(head, (delta,)), time_ms)
        return Sample(Line(head, (value,), (False,)), time_ms)

    def _delta(self, key: _SeriesKey, time_ms: int, value: float) -> float | LeftOut:
        """Return the amount a sample adds to its counter."""
        before = self._last.get(key)
        if before is None:
            if self._max_series and len(self._last) >= self._max_series:
                return LeftOut("too_many_series")
            self._last[key] = (time_ms, value)
            return LeftOut("base", bad=False)
        before_ms, last = before
        if time_ms <= before_ms:
            return LeftOut("out_of_order")
        self._last[key] = (time_ms, value)
        return value - last if value >= last else value


def _labels(text: str) -> dict[str, str] | None:
    """Parse the labels between the braces; None if malformed or repeated."""
    labels: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _LABEL.match(text, at)
        if found is None or found[1] in labels or found[1] == "__name__":
            return None if text[at:].strip() else labels
        labels[found[1]] = _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), found[2][1:-1])
        at = found.end()
    return labels
