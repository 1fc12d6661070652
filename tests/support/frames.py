"""Frames made of plain rows, for tests: like an agent's, without an agent."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent.aggregate.exponential_buckets import index_of
from agent.wire.frame import Counters, Distributions, Frame, Gauges, SeriesColumns, Sets
from indexer.clickhouse.retention import Retention
from indexer.write.accepted_frame import AcceptedFrame

Tags = Mapping[str, str]
TEN_YEARS = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
#: After every migration, so that identities are those of today; the same in each process.
CREATED_MS = 1_900_000_000_000
_sequence = itertools.count(1)


@dataclass
class FrameRows:
    """Rows by kind; each starts with name, tags and bucket."""

    counters: list[tuple[str, Tags, int, float]] = field(default_factory=list)
    gauges: list[tuple[str, Tags, int, Sequence[float]]] = field(default_factory=list)  # (last_ms, last, ...)
    distributions: list[tuple[str, Tags, int, Sequence[float]]] = field(default_factory=list)  # observations
    sets: list[tuple[str, Tags, int, Sequence[int]]] = field(default_factory=list)  # member hashes


def make_frame(rows: FrameRows, *, agent: str = "test", sequence: int | None = None, **fields: Any) -> Frame:
    """Return a frame of these rows; every call gets the next sequence number unless told one."""
    strings: dict[str, int] = {}
    series: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}

    def at(name: str, tags: Tags) -> int:
        pairs = tuple(
            (strings.setdefault(k, len(strings)), strings.setdefault(v, len(strings)))
            for k, v in sorted(tags.items())
        )
        return series.setdefault((strings.setdefault(name, len(strings)), pairs), len(series))

    def key(table: Sequence[tuple[str, Tags, int, Any]]) -> tuple[bytes, bytes]:
        return _u32(at(r[0], r[1]) for r in table), _u32(r[2] for r in table)

    kinds = {
        "counters": Counters(*key(rows.counters), _f64(r[3] for r in rows.counters)),
        "gauges": _gauges(key(rows.gauges), [r[3] for r in rows.gauges]),
        "distributions": _distributions(key(rows.distributions), [r[3] for r in rows.distributions]),
        "sets": Sets(
            *key(rows.sets),
            _u32(len(r[3]) for r in rows.sets),
            np.fromiter((m for r in rows.sets for m in r[3]), "<u8").tobytes(),
        ),
    }
    tags = [pair for _, pairs in series for pair in pairs]
    columns = SeriesColumns(
        _u32(name for name, _ in series),
        np.fromiter((len(pairs) for _, pairs in series), "<u2").tobytes(),
        _u32(k for k, _ in tags),
        _u32(v for _, v in tags),
    )
    given: dict[str, Any] = {
        "epoch": 1,
        "created_ms": CREATED_MS,
        "strings": list(strings),
        "series": columns,
    }
    number = next(_sequence) if sequence is None else sequence
    return Frame(agent=agent, sequence=number, **(given | kinds | fields))


def counter_frame(
    values: Mapping[str, float], bucket: int, *, tag: str = "host", name: str = "hits", **fields: Any
) -> Frame:
    """One counter row per tag value."""
    return make_frame(FrameRows(counters=[(name, {tag: h}, bucket, v) for h, v in values.items()]), **fields)


def unit(frame: Frame) -> AcceptedFrame:
    from agent.wire.frame import encode

    return AcceptedFrame(frame.identity, encode(frame), frame)


def _gauges(key: tuple[bytes, bytes], rows: Sequence[Sequence[float]]) -> Gauges:
    last_ms = np.fromiter((int(r[0]) for r in rows), "<i8").tobytes()
    return Gauges(*key, last_ms, *(_f64(r[i] for r in rows) for i in range(1, 6)))


def _distributions(key: tuple[bytes, bytes], rows: Sequence[Sequence[float]]) -> Distributions:
    positive = [_buckets(v for v in values if v > 0) for values in rows]
    negative = [_buckets(-v for v in values if v < 0) for values in rows]
    return Distributions(
        *key,
        count=_f64(len(v) for v in rows),
        sum=_f64(sum(v) for v in rows),
        sum_squares=_f64(sum(x * x for x in v) for v in rows),
        min=_f64(min(v) for v in rows),
        max=_f64(max(v) for v in rows),
        zero=_f64(sum(x == 0 for x in v) for v in rows),
        positive_length=_u32(len(p) for p in positive),
        positive_index=np.fromiter((i for p in positive for i in p), "<i4").tobytes(),
        positive_count=_f64(n for p in positive for n in p.values()),
        negative_length=_u32(len(p) for p in negative),
        negative_index=np.fromiter((i for p in negative for i in p), "<i4").tobytes(),
        negative_count=_f64(n for p in negative for n in p.values()),
    )


def _buckets(values: Iterable[float]) -> dict[int, int]:
    out: dict[int, int] = {}
    for v in values:
        out[index_of(v)] = out.get(index_of(v), 0) + 1
    return dict(sorted(out.items()))


def _u32(values: Iterable[int]) -> bytes:
    return np.fromiter(values, "<u4").tobytes()


def _f64(values: Iterable[float]) -> bytes:
    return np.fromiter(values, "<f8").tobytes()
