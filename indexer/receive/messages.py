"""Turns the seeds' JSON messages into frames, so that the rest of the path is the same.

Owns requests of messages and the columns that they become; indexer/receive/message_fields.py checks one
message. Pure: bytes and the time in, frames and rejections out.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import copysign, fsum, inf, ldexp
from typing import Any, Final

import msgspec
import numpy as np
import xxhash

from agent.aggregate.exponential_buckets import index_of
from agent.wire.frame import (
    OF_MESSAGES,
    Counters,
    Distributions,
    Frame,
    Gauges,
    SeriesColumns,
    Sets,
    encode,
)
from indexer.access.grants import EVERYTHING, Grant, foreign
from indexer.intern.use_case import with_use_case
from indexer.receive.message_fields import (
    ExpiredError,
    Message,
    check_age,
    checked_bucket,
    checked_value,
    is_id,
)
from indexer.receive.message_values import BadMessageError, Bucket, GaugeValue, SketchValue
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.identity import digest

_LARGEST: Final = sys.float_info.max
#: A text of JSON, which may hold anything, or the beginning of a comment.
_COMMENT: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|(//|/\*)', re.DOTALL)
#: Overflowing sums are made of numbers divided by two to this power.
_SCALE: Final = 64
#: Values of `retention_days` in one request whose first days are remembered.
_MAX_FIRST_DAYS: Final = 1_000


class MessagesError(ValueError):
    """The request as a whole is unreadable."""


class Rejection(msgspec.Struct, frozen=True):
    """A rejected message: its position in the request (from 0), and why."""

    position: int
    reason: str


@dataclass(slots=True)
class Parsed:
    """The frames of a request, and its rejected messages."""

    units: list[AcceptedFrame] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    accepted: int = 0
    forbidden: int = 0  # of those rejected: to a tenant that the sender may not write to
    expired: int = 0  # of the rejected ones


class ForeignMessageError(BadMessageError):
    """A message to a tenant outside the sender's grant."""


def parse(
    body: bytes,
    *,
    key: str,
    created_ms: int,
    latest_s: int,
    max_messages: int,
    grant: Grant = EVERYTHING,
    first_day: Callable[[int], int] = lambda _: 0,
) -> Parsed:
    """Return the frames of a request: one per (org, project, retention), in order of appearance.

    `key` names the request for ever: the same key always means the same messages. The tenant is part of a
    frame's identity: other users of that key send something else. Messages outside the `grant` are rejected,
    their neighbours are not. `first_day` maps a `retention_days` to the first day since 1970 whose rows are
    kept. Raises MessagesError.
    """
    raws = split(body)
    if len(raws) > max_messages:
        raise MessagesError(f"{len(raws)} messages: expected at most {max_messages} in a request")
    return parse_each(
        raws,
        key=key,
        created_ms=created_ms,
        latest_s=latest_s,
        sent=digest(body),
        grant=grant,
        first_day=first_day,
    )


def parse_each(
    raws: Sequence[bytes | msgspec.Raw],
    *,
    key: str,
    created_ms: int,
    latest_s: int,
    sent: bytes,
    grant: Grant,
    first_day: Callable[[int], int],
    by_retention: bool = False,
) -> Parsed:
    """Return the frames of messages as `parse` does.

    `sent`: the digest of their bytes; empty: not compared. `by_retention`: the number in a frame's identity
    is its `retention_days`, so that it does not depend on which other messages are accepted.
    """
    parsed = Parsed()
    groups: dict[tuple[int, int, int], _Builder] = {}
    first_day = lru_cache(maxsize=_MAX_FIRST_DAYS)(first_day)
    for position, raw in enumerate(raws):
        try:
            message = msgspec.json.decode(raw, type=Message)
            bucket = checked_bucket(message, latest_s)
            if not grant.covers(message.org_id, message.project_id):
                raise ForeignMessageError(foreign(message.org_id, message.project_id, grant))
            value = checked_value(message)
            check_age(message, bucket, first_day(message.retention_days))
            tenant = (message.org_id, message.project_id, message.retention_days)
            groups.setdefault(tenant, _Builder()).add(message, bucket, value)
            parsed.accepted += 1
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadMessageError) as e:
            parsed.rejected.append(Rejection(position, str(e)))
            parsed.forbidden += isinstance(e, ForeignMessageError)
            parsed.expired += isinstance(e, ExpiredError)
    for order, (tenant, builder) in enumerate(groups.items()):
        number = tenant[2] if by_retention else order
        parsed.units.append(builder.unit(key, number, created_ms, tenant, sent))
    return parsed


def split(body: bytes) -> Sequence[msgspec.Raw]:
    """Return the JSON of each message of an array, or of the one message. Raises MessagesError."""
    try:
        if body.lstrip()[:1] == b"[":
            return msgspec.json.decode(body, type=list[msgspec.Raw])
        return [msgspec.json.decode(body, type=msgspec.Raw)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        for found in _COMMENT.finditer(body):
            if found[1]:
                line = body.count(b"\n", 0, found.start()) + 1
                raise MessagesError(
                    f"not JSON: a comment in line {line}: expected JSON without comments (// or /*)"
                ) from None
        raise MessagesError(f"not JSON: {e}") from None


class _Builder:
    """Builds the columns of one frame."""

    def __init__(self) -> None:
        self._strings: dict[str | int, int] = {}
        self._series: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}
        self._counters: list[tuple[int, int, float]] = []
        self._gauges: list[tuple[int, int, int, GaugeValue]] = []
        self._distributions: list[tuple[int, int, SketchValue]] = []
        self._sets: list[tuple[int, int, list[str]]] = []

    def add(
        self, message: Message, bucket: int, value: list[float] | list[str] | GaugeValue | SketchValue
    ) -> None:
        metric = message.metric_id if message.metric_id is not None else message.name
        assert metric is not None
        stored = with_use_case(message.tags, metric, message.use_case_id)
        tags = sorted((self._string(int(k) if is_id(k) else k), self._string(v)) for k, v in stored.items())
        key = (self._string(metric), tuple(tags))
        series = self._series.setdefault(key, len(self._series))
        if isinstance(value, GaugeValue):
            self._gauges.append((series, bucket, int(message.timestamp * 1000), value))
        elif isinstance(value, SketchValue):
            self._distributions.append((series, bucket, value))
        elif message.type == "s":
            self._sets.append((series, bucket, [str(v) for v in value]))
        elif message.type == "d":
            self._distributions.append((series, bucket, _sketch([float(v) for v in value])))
        else:
            self._counters.append((series, bucket, float(value[0])))

    def _string(self, string_or_id: str | int) -> int:
        return self._strings.setdefault(string_or_id, len(self._strings))

    def unit(
        self, key: str, number: int, created_ms: int, tenant: tuple[int, int, int], digest: bytes
    ) -> AcceptedFrame:
        org_id, project_id, retention_days = tenant
        frame = Frame(
            agent=f"{OF_MESSAGES}{org_id}:{project_id}/{key}",
            epoch=0,
            sequence=number,
            created_ms=created_ms,
            org_id=org_id,
            project_id=project_id,
            retention_days=retention_days,
            strings=[s if isinstance(s, str) else "" for s in self._strings],
            series=self._series_columns(),
            counters=Counters(*_columns(self._counters, ("<u4", "<u4", "<f8"))),
            gauges=self._gauge_columns(),
            distributions=self._distribution_columns(),
            sets=self._set_columns(),
        )
        given = {i: s for s, i in self._strings.items() if isinstance(s, int)}
        return AcceptedFrame(frame.identity, encode(frame), frame, given, digest)

    def _series_columns(self) -> SeriesColumns:
        tags = [t for _, tags in self._series for t in tags]
        return SeriesColumns(
            name=_bytes((name for name, _ in self._series), "<u4"),
            tag_count=_bytes((len(tags) for _, tags in self._series), "<u2"),
            tag_key=_bytes((k for k, _ in tags), "<u4"),
            tag_value=_bytes((v for _, v in tags), "<u4"),
        )

    def _gauge_columns(self) -> Gauges:
        rows = [(s, b, ms, *msgspec.structs.astuple(v)) for s, b, ms, v in self._gauges]
        return Gauges(*_columns(rows, ("<u4", "<u4", "<i8", "<f8", "<f8", "<f8", "<f8", "<f8")))

    def _distribution_columns(self) -> Distributions:
        rows, positive, negative = [], [], []
        for series, bucket, one in self._distributions:
            moments = (one.count, one.sum, one.sum_squares, one.min, one.max, one.zero)
            rows.append((series, bucket, *moments))
            positive.append(one.positive)
            negative.append(one.negative)
        moments_of = _columns(rows, ("<u4", "<u4", "<f8", "<f8", "<f8", "<f8", "<f8", "<f8"))
        return Distributions(*(moments_of + _buckets(positive) + _buckets(negative)))

    def _set_columns(self) -> Sets:
        hashed = [[xxhash.xxh64_intdigest(m.encode()) for m in members] for _, _, members in self._sets]
        columns = _columns([(s, b, len(members)) for s, b, members in self._sets], ("<u4", "<u4", "<u4"))
        return Sets(*[*columns, _bytes((h for row in hashed for h in row), "<u8")])


def _sketch(values: Sequence[float]) -> SketchValue:
    """Return the buckets of observations, with their exact moments."""
    return SketchValue(
        _total(values),
        _total(v * v for v in values),
        min(values),
        max(values),
        float(values.count(0.0)),
        sorted(Counter(index_of(v) for v in values if v > 0).items()),
        sorted(Counter(index_of(-v) for v in values if v < 0).items()),
    )


def _total(values: Iterable[float]) -> float:
    """Return the sum, at most the largest float."""
    numbers = list(values)
    try:
        total = fsum(numbers)
    except OverflowError:  # on the way, or at its end: added up as smaller numbers
        small = fsum(ldexp(v, -_SCALE) for v in numbers)
        total = ldexp(small, _SCALE) if abs(small) <= ldexp(_LARGEST, -_SCALE) else copysign(inf, small)
    return max(-_LARGEST, min(_LARGEST, total))


def _columns(rows: Sequence[Sequence[Any]], dtypes: Sequence[str]) -> list[bytes]:
    return [_bytes((row[i] for row in rows), dtype) for i, dtype in enumerate(dtypes)]


def _buckets(rows: Sequence[Sequence[Bucket]]) -> list[bytes]:
    return [
        _bytes((len(row) for row in rows), "<u4"),
        _bytes((index for row in rows for index, _ in row), "<i4"),
        _bytes((count for row in rows for _, count in row), "<f8"),
    ]


def _bytes(values: Iterable[Any], dtype: str) -> bytes:
    return np.fromiter(values, dtype).tobytes()
