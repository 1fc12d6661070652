"""The meaning of lines by design/semantics.md, one by one, without any memory but the last values of gauges.

Independent of the aggregator: no heads, no cells, no buckets that leave. Shares only the grammar with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from xxhash import xxh64_intdigest

from agent.aggregate.exponential_buckets import index_of
from agent.protocol.line import MAX_NUMBER, Kind, Limits, Line
from agent.settings import AggregateSettings
from tests.corpus.reading import read
from tests.unit.agent.state import State, gauge_state, merge_into

_Series = tuple[str, str, tuple[tuple[str, str], ...]]
_Last = dict[_Series, tuple[int, float]]


def model(packets: Iterable[tuple[bytes, int]], limits: Limits, aggregate: AggregateSettings) -> State:
    """Return the state after packets that arrived at times (ms)."""
    out: State = {}
    last: _Last = {}
    for data, now_ms in packets:
        for line in read(data, limits):
            if isinstance(line, Line):
                _add(line, _time_ms(line, now_ms, aggregate), out, last)
    return out


def _time_ms(line: Line, now_ms: int, aggregate: AggregateSettings) -> int:
    if line.time_s is None:
        return now_ms
    earliest, latest = now_ms - aggregate.lateness_s * 1000, now_ms + aggregate.future_s * 1000
    return min(max(line.time_s * 1000, earliest), latest)


def _add(line: Line, time_ms: int, out: State, last: _Last) -> None:
    head, weight = line.head, line.head.weight
    series = (head.kind.value, head.name, head.tags)
    key = (*series, time_ms // 10_000 * 10)
    if head.kind is Kind.SET:
        merge_into(out, key, {xxh64_intdigest(line.member)})
    for value, delta in itertools.zip_longest(line.values, line.deltas):
        match head.kind:
            case Kind.COUNTER:
                merge_into(out, key, value * weight)
            case Kind.DISTRIBUTION:
                merge_into(out, key, observation(value, weight))
            case Kind.GAUGE:
                base = out[key]["last"][1] if key in out else last.get(series, (0, 0.0))[1]
                _add_gauge(key, _within(value + base) if delta else value, time_ms, out)
                if time_ms >= last.get(series, (0, 0.0))[0]:
                    last[series] = out[key]["last"]


def _within(value: float) -> float:
    return min(max(value, -MAX_NUMBER), MAX_NUMBER)


def _add_gauge(key: Any, value: float, time_ms: int, out: State) -> None:
    new = gauge_state(time_ms, value, value, value, value, 1)
    if key in out:
        old = out[key]
        last_ms, last = (time_ms, value) if time_ms >= old["last"][0] else old["last"]
        low, high = min(old["min"], value), max(old["max"], value)
        new = gauge_state(last_ms, last, low, high, old["sum"] + value, old["count"] + 1)
    out[key] = new


def observation(value: float, weight: float) -> Any:
    """Return the state of a distribution after one value."""
    return {
        "positive": {index_of(value): weight} if value > 0 else {},
        "negative": {index_of(-value): weight} if value < 0 else {},
        "zero": weight if value == 0 else 0.0,
        "count": weight,
        "sum": value * weight,
        "sum_squares": value * value * weight,
        "min": value,
        "max": value,
    }
