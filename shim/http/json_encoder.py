"""Encodes an answer as Prometheus' JSON: from arrays to bytes, row by row, no object per sample. Pure.

Rows without a present point are left out. A matrix is sorted by labels; so is a vector, unless the query
orders it (`sort`). Floats and histograms of one label set are one entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final, assert_never

import msgspec
import numpy as np

from shim.engine.api import QueryResult
from shim.http.histogram_json import histogram_texts
from shim.http.number_json import float_tokens, time_text, time_tokens
from shim.http.points import write_rows
from shim.model.errors import InternalError
from shim.model.labels import Labels
from shim.model.number_format import float_text, plain_text
from shim.model.values import Histogram, Ints, Samples, Scalar, String, Vector
from shim.promql.go_strings import shown

_encoder: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Encoded:
    """The `data` of a query's answer, and whether a limit cut it.

    `parts` together are the result; they are joined once, with the envelope around them.
    """

    result_type: str
    parts: Sequence[bytes]
    truncated: bool = False

    @property
    def result(self) -> bytes:
        """The joined parts."""
        return b"".join(self.parts)


def encode(answer: QueryResult, limit: int = 0) -> Encoded:
    """Encode an answer. `limit`: maximum number of series, 0 for all."""
    match answer.kind:
        case "scalar" | "string":
            return Encoded(answer.kind, (_single(answer),))
        case "vector":
            entries = _vector_entries(answer)
        case "matrix":
            entries = _matrix_entries(answer)
        case _:
            assert_never(answer.kind)
    if limit and len(entries) > limit:
        return Encoded(answer.kind, _list(entries[:limit]), truncated=True)
    return Encoded(answer.kind, _list(entries))


def _list(entries: Sequence[bytes]) -> Sequence[bytes]:
    parts = [b","] * (2 * len(entries) + 1)
    parts[1::2] = entries
    parts[0] = b"["
    if entries:
        parts[-1] = b"]"
    else:
        parts.append(b"]")
    return parts


def _single(answer: QueryResult) -> bytes:
    match answer.value:
        case Scalar(values):
            text = plain_text(float(values[0]))
        case String(text):
            text = shown(text)
        case _:
            raise InternalError(f"a {answer.kind} that is a {type(answer.value).__name__}")
    return b"[%b,%b]" % (time_text(answer.grid.start_ms).encode(), _encoder.encode(text))


def _metric(labels: Labels) -> bytes:
    return _encoder.encode(dict(labels))


# ---- one point per series


def _vector_entries(answer: QueryResult) -> list[bytes]:
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


def _matrix_entries(answer: QueryResult) -> list[bytes]:
    match answer.value:
        case Scalar(values):
            there = np.ones((1, len(values)), dtype=bool)
            return [
                b'{"metric":{},"values":%b}' % write_rows(answer.grid.times_ms, values[np.newaxis], there)[0]
            ]
        case Samples() as samples:
            return [text for _, text in sorted(_samples_entries(samples))]
        case Vector() as vector:
            return list(_grid_entries(vector, answer.grid.times_ms))
        case _:
            raise InternalError(f"a matrix that is a {type(answer.value).__name__}")


def _samples_entries(samples: Samples) -> Iterator[tuple[Labels, bytes]]:
    members: dict[Labels, list[bytes]] = {}
    for i, labels in enumerate(samples.labels):
        span = slice(int(samples.offsets[i]), int(samples.offsets[i + 1]))
        values = samples.values[span][np.newaxis]
        if values.size:
            (points,) = write_rows(samples.times_ms[span], values, np.ones(values.shape, dtype=bool))
            members.setdefault(labels, []).append(b'"values":%b' % points)
    series = zip(samples.histogram_labels, samples.histogram_times_ms, samples.histograms, strict=True)
    for labels, times_ms, histogram in series:
        points = _histogram_points(time_tokens(times_ms), histogram)
        members.setdefault(labels, []).append(b'"histograms":%b' % points)
    for labels, found in members.items():
        yield labels, b'{"metric":%b,%b}' % (_metric(labels), b",".join(found))


def _grid_entries(vector: Vector, times_ms: Ints) -> Iterator[bytes]:
    floats = dict(zip(vector.labels, write_rows(times_ms, vector.values, vector.present), strict=True))
    histograms = dict(zip(vector.histogram_labels, vector.histograms, strict=True))
    times = time_tokens(times_ms) if histograms else []
    for labels in sorted(floats.keys() | histograms.keys()):
        members = []
        if points := floats.get(labels):
            members.append(b'"values":%b' % points)
        histogram = histograms.get(labels)
        if histogram is not None and histogram.present.any():
            members.append(b'"histograms":%b' % _histogram_points(times, histogram))
        if members:
            yield b'{"metric":%b,%b}' % (_metric(labels), b",".join(members))


def _histogram_points(times: Sequence[bytes], histogram: Histogram) -> bytes:
    present = compress(times, histogram.present.tolist())
    texts = histogram_texts(histogram)
    return b"[%b]" % b",".join(b"[%b,%b]" % pair for pair in zip(present, texts, strict=True))
