"""An answer as Prometheus' JSON: from arrays to bytes, row by row, without an object per sample. Pure.

Rows without a present point are left out. A matrix is sorted by labels; a vector too, unless its rows stand
in an order that was asked for (`sort`). Floats and histograms of one label set are one entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final, assert_never

import msgspec
import numpy as np

from shim.answer import Answer
from shim.errors import InternalError
from shim.http.histograms import histogram_texts
from shim.http.numbers import float_text, float_tokens, time_text, time_tokens
from shim.labels import Labels
from shim.promql.escapes import shown
from shim.values import Bools, Histogram, Ints, Samples, Scalar, String, Vector

_encoder: Final = msgspec.json.Encoder()
#: Texts of values made at a time: few rows of a day, many of rows with a point here and there.
_TOKENS_AT_A_TIME: Final = 1 << 13


@dataclass(frozen=True, slots=True)
class Encoded:
    """The `data` of a query's answer, and whether a limit cut it."""

    result_type: str
    result: bytes
    truncated: bool = False


def encode(answer: Answer, limit: int = 0) -> Encoded:
    """`limit`: series at most, 0 for all."""
    match answer.kind:
        case "scalar" | "string":
            return Encoded(answer.kind, _single(answer))
        case "vector":
            entries = _vector_entries(answer)
        case "matrix":
            entries = _matrix_entries(answer)
        case _:
            assert_never(answer.kind)
    if limit and len(entries) > limit:
        return Encoded(answer.kind, _list(entries[:limit]), truncated=True)
    return Encoded(answer.kind, _list(entries))


def _list(entries: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(entries) + b"]"


def _single(answer: Answer) -> bytes:
    match answer.value:
        case Scalar(values):
            text = float_text(float(values[0]))
        case String(text):
            text = shown(text)
        case _:
            raise InternalError(f"a {answer.kind} that is a {type(answer.value).__name__}")
    return b"[%b,%b]" % (time_text(answer.grid.start_ms).encode(), _encoder.encode(text))


def _metric(labels: Labels) -> bytes:
    return _encoder.encode(dict(labels))


# ---- one point per series


def _vector_entries(answer: Answer) -> list[bytes]:
    time = time_text(answer.grid.start_ms).encode()
    match answer.value:
        case Scalar(values):
            return [b'{"metric":{},"value":[%b,"%b"]}' % (time, float_text(float(values[0])).encode())]
        case Vector() as vector:
            pass
        case _:
            raise InternalError(f"a vector that is a {type(answer.value).__name__}")
    rows = np.flatnonzero(vector.present[:, 0]) if len(vector.labels) else np.zeros(0, dtype=np.int64)
    tokens = float_tokens(vector.values[rows, 0])
    entries = [
        (vector.labels[row], b'{"metric":%b,"value":[%b,"%b"]}' % (_metric(vector.labels[row]), time, token))
        for row, token in zip(rows.tolist(), tokens, strict=True)
    ]
    for labels, histogram in zip(vector.histogram_labels, vector.histograms, strict=True):
        if histogram.present[0]:
            text = histogram_texts(histogram)[0]
            entries.append((labels, b'{"metric":%b,"histogram":[%b,%b]}' % (_metric(labels), time, text)))
    if not vector.ordered:
        entries.sort(key=lambda entry: entry[0])
    return [text for _, text in entries]


# ---- many points per series


def _matrix_entries(answer: Answer) -> list[bytes]:
    match answer.value:
        case Scalar(values):
            points = _points(time_tokens(answer.grid.times_ms), float_tokens(values))
            return [b'{"metric":{},"values":%b}' % points]
        case Samples() as samples:
            return [text for _, text in sorted(_samples_entries(samples))]
        case Vector() as vector:
            return list(_grid_entries(vector, answer.grid.times_ms))
        case _:
            raise InternalError(f"a matrix that is a {type(answer.value).__name__}")


def _points(times: Sequence[bytes], values: Sequence[bytes]) -> bytes:
    """`[[t,"v"],[t,"v"]]`; one point at least."""
    parts = [b'"],['] * (4 * len(times))
    parts[0] = b"[["
    parts[1::4] = times
    parts[2::4] = [b',"'] * len(times)
    parts[3::4] = values
    parts.append(b'"]]')
    return b"".join(parts)


def _samples_entries(samples: Samples) -> Iterator[tuple[Labels, bytes]]:
    members: dict[Labels, list[bytes]] = {}
    for i, labels in enumerate(samples.labels):
        low, high = int(samples.offsets[i]), int(samples.offsets[i + 1])
        if low < high:
            points = _points(time_tokens(samples.times_ms[low:high]), float_tokens(samples.values[low:high]))
            members.setdefault(labels, []).append(b'"values":%b' % points)
    series = zip(samples.histogram_labels, samples.histogram_times_ms, samples.histograms, strict=True)
    for labels, times_ms, histogram in series:
        points = _histogram_points(time_tokens(times_ms), histogram)
        members.setdefault(labels, []).append(b'"histograms":%b' % points)
    for labels, found in members.items():
        yield labels, b'{"metric":%b,%b}' % (_metric(labels), b",".join(found))


def _grid_entries(vector: Vector, times_ms: Ints) -> Iterator[bytes]:
    floats = {labels: row for row, labels in enumerate(vector.labels)}
    histograms = dict(zip(vector.histogram_labels, vector.histograms, strict=True))
    times = time_tokens(times_ms)
    openings = [b'"],[%b,"' % t for t in times]
    row_parts: list[bytes] = [b""] * (2 * len(times))
    row_parts[0::2] = openings
    ordered = sorted(floats.keys() | histograms.keys())
    tokens_of_rows = _tokens_of_rows(vector, [floats[labels] for labels in ordered if labels in floats])
    for labels in ordered:
        members = []
        row = floats.get(labels)
        if row is not None and (tokens := next(tokens_of_rows)):
            if len(tokens) == vector.steps:
                row_parts[1::2] = tokens
                text = b"".join(row_parts)
            else:
                text = _sparse(openings, tokens, vector.present[row])
            members.append(b'"values":[%b"]]' % text[3:])  # without the first opening's `"],`
        histogram = histograms.get(labels)
        if histogram is not None and histogram.present.any():
            members.append(b'"histograms":%b' % _histogram_points(times, histogram))
        if members:
            yield b'{"metric":%b,%b}' % (_metric(labels), b",".join(members))


def _tokens_of_rows(vector: Vector, rows: Sequence[int]) -> Iterator[list[bytes]]:
    """The values of each of `rows` that are present, as text; made for many rows at a time."""
    at_a_time = max(1, _TOKENS_AT_A_TIME // max(1, vector.steps))
    for begin in range(0, len(rows), at_a_time):
        some = rows[begin : begin + at_a_time]
        present = vector.present[some]
        tokens = float_tokens(vector.values[some][present])
        end = 0
        for count in present.sum(axis=1).tolist():
            yield tokens[end : end + count]
            end += count


def _sparse(openings: Sequence[bytes], tokens: Sequence[bytes], present: Bools) -> bytes:
    parts: list[bytes] = [b""] * (2 * len(tokens))
    parts[0::2] = compress(openings, present.tolist())
    parts[1::2] = tokens
    return b"".join(parts)


def _histogram_points(times: Sequence[bytes], histogram: Histogram) -> bytes:
    present = compress(times, histogram.present.tolist())
    texts = histogram_texts(histogram)
    return _list(b"[%b,%b]" % pair for pair in zip(present, texts, strict=True))
