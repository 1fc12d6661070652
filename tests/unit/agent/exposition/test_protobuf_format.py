"""The protobuf format, read by a decoder of wire types that knows nothing of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.aggregate.exponential_buckets import index_of
from agent.exposition.protobuf_format import protobuf_of
from agent.protocol.line import MAX_NUMBER
from agent.wire.metadata import MetricDescription
from tests.unit.agent.exposition.folded import Folded, T

Fields = dict[int, list[Any]]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Fields:
    """Decode one message: numbers, floats and bytes by field number."""
    out: Fields = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value: Any
        match key & 7:
            case 0:
                value, at = _varint(data, at)
            case 1:
                (value,), at = struct.unpack_from("<d", data, at), at + 8
            case 2:
                length, at = _varint(data, at)
                assert at + length <= len(data)
                value, at = data[at : at + length], at + length
            case other:
                raise AssertionError(f"wire type {other}")
        out.setdefault(key >> 3, []).append(value)
    return out


def messages(data: bytes) -> Iterator[Fields]:
    """Yield the messages of a stream, each after its length."""
    at = 0
    while at < len(data):
        length, at = _varint(data, at)
        assert at + length <= len(data)
        yield fields(data[at : at + length])
        at += length


def families(folded: Folded, **described: MetricDescription) -> dict[str, Fields]:
    found = list(messages(b"".join(protobuf_of(folded.families(described), utf8=True))))
    return {one[1][0].decode(): one for one in found}


def signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def packed(data: bytes) -> list[int]:
    at, out = 0, []
    while at < len(data):
        value, at = _varint(data, at)
        out.append(signed(value))
    return out


def buckets(histogram: Fields, span: int, *, whole: bool) -> dict[int, float]:
    """Return the filled buckets of a side by index, as a reader of native histograms finds them."""
    if whole:
        counts: list[float] = list(accumulate(packed(b"".join(histogram.get(span + 1, [])))))
    else:
        data = b"".join(histogram.get(span + 2, []))
        counts = [count for (count,) in struct.iter_unpack("<d", data)]
    at, found, rest = 0, {}, iter(counts)
    for one in map(fields, histogram.get(span, [])):
        at += signed(one[1][0])
        for _ in range(one[2][0]):
            found[at] = next(rest)
            at += 1
    assert next(rest, None) is None
    return {index: count for index, count in found.items() if count}


def test_counters_gauges_sets_and_their_labels() -> None:
    folded = Folded(started_s=T + 0.25).add(
        "hits:2.5|c|#route:a,code:200", "t:-1|g", "u:a|s", "u:b|s", "温度:3|g"
    )
    found = families(folded, hits=MetricDescription(help="All hits."))
    hits = found["hits"]
    assert (hits[2], hits[3]) == ([b"All hits."], [0])
    (metric,) = map(fields, hits[4])
    labels = [(one[1][0], one[2][0]) for one in map(fields, metric[1])]
    assert labels == [(b"code", b"200"), (b"route", b"a")]
    counter = fields(metric[3][0])
    assert counter[1] == [2.5]
    assert fields(counter[3][0]) == {1: [T], 2: [250_000_000]}
    assert [found[name][3] for name in ("t", "u", "温度")] == [[1], [1], [1]]
    assert [fields(fields(found[name][4][0])[2][0])[1] for name in ("t", "u")] == [[-1.0], [2.0]]


def test_a_histogram_with_fractions_stays_one_of_floats() -> None:
    folded = Folded().add("d:1|d|@0.4")
    for at_s in (10, 20):  # counts are 2.5, 5 and 7.5
        folded.add("d:1|d|@0.4", at_s=at_s)
        found = fields(fields(families(folded)["d"][4][0])[7][0])
        assert 1 not in found
        assert found[4] == [2.5 + at_s / 4]


def test_a_histogram_of_whole_numbers_counts_what_its_buckets_have() -> None:
    folded = Folded().add(*("d:1|d|@0.003", "d:2|d|@0.003") * 3)
    (total,) = folded.state.published.histograms.values()
    assert (int(total.count), total.whole) == (1_999, True)
    found = fields(fields(families(folded)["d"][4][0])[7][0])
    assert found[1] == [2_000] == [sum(buckets(found, 12, whole=True).values())]


@pytest.mark.parametrize("rate", ["1e-20", "1e-300", "6e-309"])
def test_tiny_rates_break_no_scrape(rate: str) -> None:
    lines = (f"d:1|d|@{rate}", f"d:2|d|@{rate}", f"d:0|d|@{rate}", f"d:-1|d|@{rate}", f"d:-2|d|@{rate}")
    folded = Folded().add(*lines).add(*lines, at_s=10).add("c:1|c", at_s=20)
    found = fields(fields(families(folded)["d"][4][0])[7][0])
    classic = [one[1][0] for one in map(fields, found[3])]
    assert classic == sorted(classic)
    assert classic[-1] == 2**64 - 1
    for openmetrics in (False, True):
        shown = folded.lines(openmetrics=openmetrics)
        counts = [n for series, n in shown.items() if series.startswith("d_bucket")]
        assert counts == sorted(counts)
        assert counts[-1] == pytest.approx(min(10 / float(rate), MAX_NUMBER))


def test_a_time_that_rounds_up_is_the_next_second() -> None:
    found = families(Folded(started_s=T + 0.9997).add("c:1|c"))["c"]
    counter = fields(fields(found[4][0])[3][0])
    assert fields(counter[3][0]) == {1: [T + 1], 2: [0]}


VALUES = st.one_of(st.floats(-1e9, 1e9).map(lambda v: round(v, 3)), st.sampled_from([0.0, 5e-324, 1e300]))


@given(values=st.lists(VALUES, min_size=1, max_size=40), rate=st.sampled_from(["", "|@0.3"]))
def test_a_native_histogram_has_every_bucket(values: list[float], rate: str) -> None:
    folded = Folded(max_entries=100_000).add(*(f"d:{v!r}|d{rate}" for v in values))
    (total,) = folded.state.published.histograms.values()
    found = fields(fields(families(folded)["d"][4][0])[7][0])
    whole = total.whole
    assert whole or rate
    assert (1 in found) == whole
    assert found[1 if whole else 4] == [total.count]
    assert found[2] == [total.sum]
    assert [signed(one) for one in found[5]] == [5]
    assert found[6] == [0.0]
    assert found[7 if whole else 8] == [total.zero]
    assert buckets(found, 12, whole=whole) == total.positive
    assert buckets(found, 9, whole=whole) == total.negative
    assert set(total.positive) == {index_of(v) for v in values if v > 0}
    assert fields(found[15][0]) == {1: [T], 2: [0]}
    classic = [(one[1][0], one[2][0]) for one in map(fields, found.get(3, []))]
    assert classic == sorted(classic)


def test_classic_buckets_are_those_of_the_text() -> None:
    folded = Folded().add("lat:0.3|d", "lat:1|d", "lat:7|d")
    found = fields(fields(families(folded)["lat"][4][0])[7][0])
    shown = {one[2][0]: one[1][0] for one in map(fields, found[3])}
    lines = folded.lines()
    assert lines == pytest.approx({
        **{f'lat_bucket{{le="{le!r}"}}': count for le, count in shown.items()},
        'lat_bucket{le="+Inf"}': 3, "lat_count{}": 3, "lat_sum{}": 8.3,
    })  # fmt: skip


def test_many_series_are_one_message() -> None:
    folded = Folded(max_series=5_000).add(*(f"c:1|c|#i:{i}" for i in range(2_000)), rows=100_000)
    found = families(folded)
    assert list(found) == ["c"]
    assert len(found["c"][4]) == 2_000
