"""The aggregator's buckets and the frames' rows, as plain values that tests can compare and merge.

A state maps (kind, name, tags, bucket) to a value that merges as ClickHouse merges it (design/semantics.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from agent.aggregate.state import Bucket, CounterCell, DistributionCell, GaugeCell, SetCell
from agent.protocol.line import Kind
from agent.wire.frame import Frame

Key = tuple[str, str, tuple[tuple[str, str], ...], int]
State = dict[Key, Any]


def gauge_state(last_ms: int, last: float, low: float, high: float, total: float, count: float) -> Any:
    return {"last": (last_ms, last), "min": low, "max": high, "sum": total, "count": count}


def state_of(buckets: Iterable[Bucket]) -> State:
    """Return the state of flushed buckets; parts of one bucket are merged."""
    out: State = {}
    for bucket in buckets:
        for series, cell in bucket.cells.items():
            key = (series.kind.value, series.name, series.tags, bucket.start_s)
            merge_into(out, key, _value(cell))
    return out


def _value(cell: CounterCell | GaugeCell | DistributionCell | SetCell) -> Any:
    match cell:
        case CounterCell():
            return cell.value
        case GaugeCell():
            return gauge_state(cell.last_ms, cell.last, cell.min, cell.max, cell.sum, cell.count)
        case DistributionCell():
            names = ("positive", "negative", "zero", "count", "sum", "sum_squares", "min", "max")
            return {name: getattr(cell, name) for name in names}
        case SetCell():
            return set(cell.members)


def merge(*states: State) -> State:
    out: State = {}
    for state in states:
        for key, value in state.items():
            merge_into(out, key, value)
    return out


def merge_into(out: State, key: Key, value: Any) -> None:
    out[key] = _merged(out[key], value) if key in out else value


def _merged(a: Any, b: Any) -> Any:
    if isinstance(a, set):
        return a | b
    if isinstance(a, float):
        return a + b
    rules: dict[str, Callable[[Any, Any], Any]] = {
        "last": max,
        "min": min,
        "max": max,
        "positive": _sum_maps,
        "negative": _sum_maps,
    }
    return {name: rules.get(name, _add)(a[name], b[name]) for name in a}


def _add(a: Any, b: Any) -> Any:
    return a + b


def _sum_maps(a: dict[int, float], b: dict[int, float]) -> dict[int, float]:
    return {i: a.get(i, 0.0) + b.get(i, 0.0) for i in a.keys() | b.keys()}


def state_of_frames(frames: Iterable[Frame]) -> State:
    """Return the state that decoded frames carry."""
    out: State = {}
    for frame in frames:
        _read_frame(frame, out)
    return out


def _read_frame(frame: Frame, out: State) -> None:
    series = _series(frame)

    def key(kind: Kind, index: int, bucket: int) -> Key:
        return (kind.value, *series[index], bucket)

    c = frame.counters
    for i, bucket, value in zip(_col(c.series, "I"), _col(c.bucket, "I"), _col(c.value, "d"), strict=True):
        merge_into(out, key(Kind.COUNTER, i, bucket), value)
    g = frame.gauges
    columns = [_col(getattr(g, n), "d") for n in ("last", "min", "max", "sum", "count")]
    for i, bucket, last_ms, last, *rest in zip(
        _col(g.series, "I"), _col(g.bucket, "I"), _col(g.last_ms, "q"), *columns, strict=True
    ):
        merge_into(out, key(Kind.GAUGE, i, bucket), gauge_state(last_ms, last, *rest))
    _read_distributions(frame, key, out)
    s, at = frame.sets, 0
    members = _col(s.member, "Q")
    for i, bucket, length in zip(_col(s.series, "I"), _col(s.bucket, "I"), _col(s.length, "I"), strict=True):
        merge_into(out, key(Kind.SET, i, bucket), set(members[at : at + length]))
        at += length


def _read_distributions(frame: Frame, key: Any, out: State) -> None:
    d = frame.distributions
    maps: dict[str, list[dict[int, float]]] = {}
    for sign in ("positive", "negative"):
        indexes, counts = _col(getattr(d, f"{sign}_index"), "i"), _col(getattr(d, f"{sign}_count"), "d")
        at, rows = 0, []
        for length in _col(getattr(d, f"{sign}_length"), "I"):
            assert indexes[at : at + length] == sorted(set(indexes[at : at + length]))
            rows.append(dict(zip(indexes[at : at + length], counts[at : at + length], strict=True)))
            at += length
        maps[sign] = rows
    names = ("zero", "count", "sum", "sum_squares", "min", "max")
    columns = {name: _col(getattr(d, name), "d") for name in names}
    for row, (i, bucket) in enumerate(zip(_col(d.series, "I"), _col(d.bucket, "I"), strict=True)):
        value = {"positive": maps["positive"][row], "negative": maps["negative"][row]}
        merge_into(
            out, key(Kind.DISTRIBUTION, i, bucket), value | {name: columns[name][row] for name in names}
        )


def _series(frame: Frame) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    s, at, out = frame.series, 0, []
    keys, values = _col(s.tag_key, "I"), _col(s.tag_value, "I")
    for name, count in zip(_col(s.name, "I"), _col(s.tag_count, "H"), strict=True):
        tags = tuple((frame.strings[keys[i]], frame.strings[values[i]]) for i in range(at, at + count))
        assert list(tags) == sorted(dict(tags).items())
        out.append((frame.strings[name], tags))
        at += count
    return out


def _col(data: bytes, code: str) -> list[Any]:
    return memoryview(data).cast(code).tolist()  # type: ignore[call-overload,no-any-return]
