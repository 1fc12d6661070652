"""Prometheus' protobuf format, in pieces: each family after its length. Pure.

Owns the bytes; no library is needed. A distribution is a native histogram of its own resolution and a classic
one; its numbers are integers until a sample rate has given fractions, then floats.
Source: io/prometheus/client/metrics.proto of prometheus/client_model.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from agent.exposition.classic_buckets import ClassicBound, counts_up_to
from agent.exposition.frame_series import SeriesKey
from agent.exposition.shown_families import Shown, ShownFamily, WrittenNames
from agent.exposition.text_format import classic_bounds
from agent.exposition.totals import CounterTotal, GaugeValue, HistogramTotal, SetSize

_TYPES: Final[Mapping[str, int]] = {"counter": 0, "gauge": 1, "histogram": 4}
_DOUBLE: Final = struct.Struct("<d")
#: Up to this number, empty buckets take less than a new span.
_MAX_GAP: Final = 2
_MAX_EXACT: Final = 2.0**53
_MAX_UINT64: Final = 2**64 - 1
#: Numbers below this are one byte; all keys of fields are.
_LARGE: Final = 0x80
_SMALL: Final = tuple(bytes((value,)) for value in range(_LARGE))


def protobuf_of(families: Sequence[ShownFamily], *, utf8: bool) -> Iterator[bytes]:
    """Yield the messages of families, each after its length."""
    writer = _Writer(utf8=utf8)
    for family in families:
        pieces = [writer.head(family)]
        bounds = writer.bounds(family)
        for piece in family.pieces():
            pieces.append(b"".join([_message(4, writer.metric(key, value, bounds)) for key, value in piece]))
            yield b""  # nothing is ready: the length comes first
        yield _varint(sum(map(len, pieces)))
        yield from pieces


#: A boundary, and its encoded field.
_Bounds = Sequence[tuple[ClassicBound, bytes]]


class _Writer:
    """Encodes families; keeps the parts that many series share."""

    def __init__(self, *, utf8: bool) -> None:
        self._names = WrittenNames(utf8=utf8)
        self._label_names: dict[str, bytes] = {}
        self._times: dict[float, bytes] = {}

    def head(self, family: ShownFamily) -> bytes:
        """Return the fields of a family besides its series."""
        name, help_ = self._names.metric(family.name), family.described.help
        return _text(1, name) + _text(2, help_) + _number(3, _TYPES[family.type])

    def bounds(self, family: ShownFamily) -> _Bounds:
        """Return the boundaries of a family."""
        found = classic_bounds(family) if family.type == "histogram" else []
        return [(bound, _double(2, bound.upper)) for bound in found]

    def metric(self, key: SeriesKey, value: Shown, bounds: _Bounds) -> bytes:
        """Return the message of one series."""
        parts = [self._label(key[at], key[at + 1]) for at in range(1, len(key), 2)]
        match value:
            case CounterTotal():
                parts.append(
                    _message(3, _double(1, value.highest) + _message(3, self._time(value.created_s)))
                )
            case GaugeValue():
                parts.append(_message(2, _double(1, value.value)))
            case SetSize():
                parts.append(_message(2, _double(1, value.size)))
            case HistogramTotal():
                parts.append(_message(7, self._histogram(value, bounds)))
        return b"".join(parts)

    def _label(self, name: str, value: str) -> bytes:
        first = self._label_names.get(name)
        if first is None:
            first = self._label_names[name] = _text(1, self._names.label(name))
        return _message(1, first + _text(2, value))

    def _time(self, seconds: float) -> bytes:
        found = self._times.get(seconds)
        if found is None:
            whole, milliseconds = divmod(round(seconds * 1e3), 1_000)
            found = _number(1, whole) + _number(2, milliseconds * 1_000_000)
            self._times[seconds] = found
        return found

    def _histogram(self, value: HistogramTotal, bounds: _Bounds) -> bytes:
        whole = value.whole and value.count < _MAX_EXACT
        counts = counts_up_to(value, [bound for bound, _ in bounds])
        if counts[-1] > _MAX_UINT64:
            counts = [min(one, _MAX_UINT64) for one in counts]
        parts = [
            _number(1, _observations(value)) if whole else _double(4, value.count),
            _double(2, value.sum),
            *(_message(3, _number(1, n) + upper) for n, (_, upper) in zip(counts, bounds, strict=False)),
            _signed(5, value.schema),
            _double(6, 0.0),
            _number(7, int(value.zero)) if whole else _double(8, value.zero),
            _side(value.negative, 9, whole=whole),
            _side(value.positive, 12, whole=whole),
            _message(15, self._time(value.created_s)),
        ]
        return b"".join(parts)


def _observations(value: HistogramTotal) -> int:
    """Return the number of observations in the buckets of a histogram of whole numbers.

    Its own count is a sum in another order, and may differ by a rounding of sampled lines. A Prometheus
    refuses a whole scrape for such a difference.
    """
    return int(value.zero) + int(sum(value.positive.values())) + int(sum(value.negative.values()))


def _side(buckets: Mapping[int, float], field: int, *, whole: bool) -> bytes:
    """Encode the spans (`field`) and the numbers of buckets (the fields after it) on one side of zero."""
    if not buckets:
        return b""
    spans = list[tuple[int, int]]()  # offset to the end of the one before, length
    counts, end, start = list[float](), 0, None
    for index in sorted(buckets):
        gap = index - end
        if start is None or gap > _MAX_GAP:
            spans.append((gap, 1))
        else:
            spans[-1] = (spans[-1][0], spans[-1][1] + gap + 1)
            counts += [0.0] * gap
        start = index
        counts.append(buckets[index])
        end = index + 1
    encoded = b"".join(_message(field, _signed(1, offset) + _number(2, length)) for offset, length in spans)
    if not whole:
        return encoded + _message(field + 2, b"".join(map(_DOUBLE.pack, counts)))
    steps = (int(b - a) for a, b in zip([0.0, *counts], counts, strict=False))
    return encoded + _message(field + 1, b"".join(_varint(_zigzag(step)) for step in steps))


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode()) if text else b""


def _message(field: int, data: bytes) -> bytes:
    size = len(data)
    length = _SMALL[size] if size < _LARGE else _varint(size)
    return _SMALL[field << 3 | 2] + length + data


def _double(field: int, value: float) -> bytes:
    return _SMALL[field << 3 | 1] + _DOUBLE.pack(value)


def _number(field: int, value: int) -> bytes:
    return _SMALL[field << 3] + (_SMALL[value] if value < _LARGE else _varint(value))


def _signed(field: int, value: int) -> bytes:
    return _number(field, _zigzag(value))


def _zigzag(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= _LARGE:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
