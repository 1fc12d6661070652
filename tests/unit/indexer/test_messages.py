from __future__ import annotations

import base64
import math
import struct
import sys
from typing import Any

import msgspec
import numpy as np
import pytest
import xxhash

from agent.aggregate.exponential_buckets import index_of
from agent.wire.frame import ENDED, decode
from indexer.intern.use_case import USE_CASE_TAG
from indexer.receive.messages import MessagesError, Parsed, parse
from indexer.write.frame_to_columns import check

NOW_S = 1_647_532_800
#: The message of the metrics dataset's documentation, word for word.
SEED = {
    "org_id": 1,
    "project_id": 2,
    "metric_id": 12345,
    "timestamp": 1647532800,
    "tags": {"67890": 11111, "22222": 33333},
    "type": "c",
    "value": 42.0,
    "retention_days": 90,
}


def of(*messages: Any, key: str = "k", most: int = 100) -> Parsed:
    body = msgspec.json.encode(list(messages))
    return parse(body, key=key, created_ms=1, latest_s=NOW_S + 60, max_messages=most)


def test_the_seeds_message_alone() -> None:
    parsed = parse(msgspec.json.encode(SEED), key="k", created_ms=1, latest_s=NOW_S, max_messages=1)
    (unit,) = parsed.units
    frame = unit.frame
    assert (frame.org_id, frame.project_id, frame.retention_days) == (1, 2, 90)
    assert sorted(unit.given_ids.values()) == [11111, 12345, 22222, 33333, 67890]
    assert np.frombuffer(frame.counters.value, "<f8").tolist() == [42.0]
    assert decode(unit.body) == frame
    check(frame, latest_s=NOW_S)


def test_given_ids_go_where_the_strings_have_none() -> None:
    (unit,) = of({**SEED, "name": "hits", "metric_id": None}).units
    ids = unit.with_given(np.full(len(unit.frame.strings), 5, np.uint64))
    assert ids[unit.frame.strings.index("hits")] == 5
    assert set(ids.tolist()) == {5, 67890, 11111, 22222, 33333}


def test_the_use_case_is_a_tag_unless_the_mri_says_it() -> None:
    named = {**SEED, "metric_id": None, "tags": {}}
    mri = {**named, "name": "d:spans/duration@millisecond"}
    (unit,) = of(mri, {**mri, "use_case_id": "spans"}, {**mri, "use_case_id": ""}).units
    assert len(unit.frame.series.name) == 4  # one series, the same as without the field
    (unit,) = of({**mri, "use_case_id": "custom"}, {**SEED, "tags": {}, "use_case_id": "spans"}).units
    frame = unit.frame
    assert set(frame.strings) == {mri["name"], USE_CASE_TAG, "custom", "", "spans"}
    assert np.frombuffer(frame.series.tag_count, "<u2").tolist() == [1, 1]
    check(frame, latest_s=NOW_S)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"use_case_id": "x" * 2_000}, "use_case_id: 2000 bytes: expected at most"),
        ({"use_case_id": 7}, "at `$.use_case_id`"),
        ({"tags": {USE_CASE_TAG: "x"}}, "tags: a key of the field use_case_id"),
    ],
)
def test_use_cases_that_are_refused(change: dict[str, Any], reason: str) -> None:
    (rejected,) = of({**SEED, **change}).rejected
    assert reason in rejected.reason


def test_names_and_tags_as_strings() -> None:
    (unit,) = of({**SEED, "metric_id": "hits", "tags": {"host": "a", "zone": "7"}}).units
    assert set(unit.frame.strings) == {"hits", "host", "a", "zone", "7"}
    assert not unit.given_ids


def test_one_unit_per_tenant_and_retention() -> None:
    parsed = of(SEED, {**SEED, "org_id": 5}, SEED, {**SEED, "retention_days": 30})
    assert [u.frame.rows for u in parsed.units] == [2, 1, 1]
    assert [u.identity for u in parsed.units] == [
        f"messages/{tenant}/k/0/{number}" for number, tenant in enumerate(("1:2", "5:2", "1:2"))
    ]


def test_a_key_is_of_its_tenant() -> None:
    """Two tenants who number their requests alike send different messages, and both count."""
    tenants = [{"org_id": 1}, {"org_id": 9}, {"org_id": 1, "project_id": 9}]
    identities = {of({**SEED, **tenant}).units[0].identity for tenant in tenants}
    assert len(identities) == len(tenants)


def test_same_key_same_units() -> None:
    assert [u.body for u in of(SEED, SEED).units] == [u.body for u in of(SEED, SEED).units]


def test_distribution() -> None:
    (unit,) = of({**SEED, "type": "d", "value": [0, 1.5, 1.5, -2, 100]}).units
    d = unit.frame.distributions
    assert np.frombuffer(d.count).tolist() == [5]
    assert np.frombuffer(d.sum).tolist() == [101]
    assert np.frombuffer(d.zero).tolist() == [1]
    assert (np.frombuffer(d.min)[0], np.frombuffer(d.max)[0]) == (-2, 100)
    assert np.frombuffer(d.positive_index, "<i4").tolist() == [index_of(1.5), index_of(100)]
    assert np.frombuffer(d.positive_count).tolist() == [2, 1]
    assert np.frombuffer(d.negative_index, "<i4").tolist() == [index_of(2)]


def test_set_members_hash_as_their_text() -> None:
    (unit,) = of({**SEED, "type": "s", "value": [7, "7", "ü"]}).units
    seven, again, u = np.frombuffer(unit.frame.sets.member, "<u8").tolist()
    assert seven == again == xxhash.xxh64_intdigest(b"7")
    assert u == xxhash.xxh64_intdigest("ü".encode())


def test_gauge_as_number_and_as_state() -> None:
    state = {"last": 5, "min": 1, "max": 9, "sum": 15, "count": 3}
    (unit,) = of({**SEED, "type": "g", "value": 4}, {**SEED, "type": "g", "value": state}).units
    g = unit.frame.gauges
    assert np.frombuffer(g.last).tolist() == [4, 5]
    assert np.frombuffer(g.sum).tolist() == [4, 15]
    assert np.frombuffer(g.count).tolist() == [1, 3]
    assert np.frombuffer(g.last_ms, "<i8").tolist() == [NOW_S * 1000] * 2


def test_a_gauge_ends_with_a_state_that_merges_with_values() -> None:
    (unit,) = of({**SEED, "type": "g", "value": "stale"}).units
    g = unit.frame.gauges
    (last,) = np.frombuffer(g.last)
    assert last == ENDED
    assert math.isfinite(ENDED)
    assert np.frombuffer(g.count).tolist() == np.frombuffer(g.sum).tolist() == [0]
    assert np.frombuffer(g.min).tolist() == [sys.float_info.max]
    assert np.frombuffer(g.max).tolist() == [-sys.float_info.max]


@pytest.mark.parametrize(
    ("kind", "plain", "packed"),
    [
        ("d", [1.5, -2.0], base64.b64encode(struct.pack("<2d", 1.5, -2.0)).decode()),
        ("s", [7, 9], base64.b64encode(struct.pack("<2I", 7, 9)).decode().rstrip("=")),
    ],
)
def test_encoded_arrays_are_their_elements(kind: str, plain: list[float], packed: str) -> None:
    forms = [plain, {"format": "array", "data": plain}, {"format": "base64", "data": packed}]
    bodies = [of({**SEED, "type": kind, "value": value}).units[0].body for value in forms]
    assert bodies[0] == bodies[1] == bodies[2]


BUCKETS: dict[str, Any] = {
    "format": "buckets",
    "sum": 7.5,
    "positive": [[32, 1], [76, 1]],
    "zero": 1,
    "negative": [[0, 1]],
}


def test_buckets_are_those_of_observations() -> None:
    """With all moments they are the same frame; moments that are left out are within the buckets' error."""
    values = [2.0, 5.1, 0.0, -0.99]
    whole = {**BUCKETS, "sum": math.fsum(values), "sum_squares": math.fsum(v * v for v in values)}
    whole |= {"min": -0.99, "max": 5.1}
    frames = [of({**SEED, "type": "d", "value": value}).units[0] for value in (values, whole)]
    assert frames[0].body == frames[1].body
    made = of({**SEED, "type": "d", "value": BUCKETS}).units[0].frame.distributions
    numbers = {
        name: np.frombuffer(getattr(made, name)).tolist()[0]
        for name in ("min", "max", "count", "sum_squares")
    }
    assert numbers["count"] == 4
    for name, exact in (("min", -0.99), ("max", 5.1), ("sum_squares", whole["sum_squares"])):
        assert numbers[name] == pytest.approx(exact, rel=0.025 if name == "sum_squares" else 0.012), name


def test_counts_of_buckets_are_weights() -> None:
    value = {**BUCKETS, "positive": [[32, 2.5]], "negative": [], "zero": 0}
    made = of({**SEED, "type": "d", "value": value}).units[0].frame.distributions
    assert np.frombuffer(made.count).tolist() == np.frombuffer(made.positive_count).tolist() == [2.5]


@pytest.mark.parametrize("comment", ["// the org\n", "/* the org */"])
def test_comments_are_told_with_their_line(comment: str) -> None:
    body = b'{\n"name": "http://x", ' + comment.encode() + b' "org_id": 1}'
    with pytest.raises(MessagesError, match="a comment in line 2: expected JSON without comments"):
        parse(body, key="k", created_ms=1, latest_s=NOW_S, max_messages=9)


def test_time_falls_into_its_bucket() -> None:
    (unit,) = of({**SEED, "timestamp": NOW_S + 19.9}).units
    assert np.frombuffer(unit.frame.counters.bucket, "<u4").tolist() == [NOW_S + 10]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"org_id": 0}, "org_id"),
        ({"org_id": 2**32}, "org_id"),
        ({"org_id": "1"}, "Expected `int`"),
        ({"project_id": -1}, "project_id"),
        ({"retention_days": 65_536}, "retention_days"),
        ({"timestamp": -1}, "expected Unix seconds"),
        ({"timestamp": 2**32}, "expected Unix seconds"),
        ({"timestamp": NOW_S + 600}, "future"),
        ({"type": "x"}, "Invalid enum"),
        ({"metric_id": None}, "metric_id, name: expected one"),
        ({"name": "twice"}, "metric_id, name: expected one"),
        ({"metric_id": 0}, "metric_id"),
        ({"metric_id": 2**64}, "metric_id|range"),
        ({"tags": {"0": 1}}, "tags.0"),
        ({"tags": {"a": 0}}, "tags.a"),
        ({"tags": {"a": 1.5}}, "tags"),
        ({"value": "42"}, "not a finite number"),
        ({"value": [1]}, "not a finite number"),
        ({"value": None}, "Expected"),
        ({"value": {"last": 1}}, "missing|Expected"),
        ({"type": "c", "value": {"format": "array", "data": [1]}}, "expected type s or d"),
        ({"type": "d", "value": {"format": "zstd", "data": "x"}}, "expected array, base64 or buckets"),
        ({"type": "d", "value": {"format": "array", "data": "x"}}, "expected an array"),
        ({"type": "d", "value": {"format": "array", "data": []}}, "at least one"),
        ({"type": "d", "value": {"format": "base64", "data": "?"}}, "not base64"),
        ({"type": "d", "value": {"format": "base64", "data": "AAAA"}}, "3 bytes: expected a multiple of 8"),
        ({"type": "d", "value": {"format": "buckets", "positive": [[1, 1]]}}, "value.sum: missing"),
        ({"type": "d", "value": {"format": "buckets", "sum": 1}}, "with counts above 0"),
        ({"type": "d", "value": {**BUCKETS, "zero": -1}}, "with counts above 0"),
        ({"type": "d", "value": {**BUCKETS, "positive": [[2, 1], [1, 1]]}}, "ascending"),
        ({"type": "d", "value": {**BUCKETS, "negative": [[1, 0]]}}, "expected counts above 0"),
        ({"type": "d", "value": {**BUCKETS, "positive": [[32_769, 1]]}}, "expected indexes of"),
        ({"type": "d", "value": {**BUCKETS, "positive": [[1, 1e308], [2, 1e308]]}}, "not a finite number"),
        ({"type": "g", "value": BUCKETS}, "expected type d and the format buckets"),
        ({"type": "d", "value": []}, "at least one"),
        ({"type": "d", "value": ["x"]}, "not a finite number"),
        ({"type": "s", "value": []}, "at least one"),
        ({"type": "g", "value": [1]}, "not a finite number"),
        ({"type": "g", "value": {"last": 1, "min": 1, "max": 1, "sum": 1}}, "missing"),
    ],
)
def test_a_bad_message_is_told_why_and_the_others_land(change: dict[str, Any], reason: str) -> None:
    parsed = of(SEED, {**SEED, **change}, SEED)
    assert [r.position for r in parsed.rejected] == [1]
    assert parsed.accepted == 2
    assert [u.frame.rows for u in parsed.units] == [2]
    assert any(part in parsed.rejected[0].reason for part in reason.split("|")), parsed.rejected[0].reason


def test_a_number_too_large_for_a_float() -> None:
    body = msgspec.json.encode(SEED).replace(b"42.0", b"1" + b"0" * 400)
    parsed = parse(body, key="k", created_ms=1, latest_s=NOW_S, max_messages=1)
    assert len(parsed.rejected) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[1,", b"\xff", b"[{}]x", b"nonsense"])
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(MessagesError):
        parse(body, key="k", created_ms=1, latest_s=NOW_S, max_messages=9)


def test_too_many() -> None:
    with pytest.raises(MessagesError, match="at most 2"):
        of(SEED, SEED, SEED, most=2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "n" * 513}, "name: 513 bytes: expected at most 512"),
        ({"tags": {"k" * 1_025: "v"}}, "a key of tags: 1025 bytes"),
        ({"tags": {"k": "v" * 20_000}}, "tags.k: 20000 bytes: expected at most 1024"),
        ({"tags": {f"k{i}": "v" for i in range(65_536)}}, "tags: 65536 tags: expected at most 64"),
        ({"tags": {"1" * 5_000: "v"}}, "a key of tags: 5000 bytes"),
    ],
)
def test_what_is_longer_than_a_line_is_that_messages_fault_alone(change: dict[str, Any], reason: str) -> None:
    good = {**SEED, "metric_id": None, "name": "hits", "tags": {}}
    parsed = of({**good, **change}, good)
    assert parsed.accepted == 1
    assert [(r.position, reason in r.reason) for r in parsed.rejected] == [(0, True)], parsed.rejected


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ([1.7e308, 1.7e308], sys.float_info.max),
        ([-1.7e308, -1.7e308], -sys.float_info.max),
        ([1.7e308, 1.7e308, -1.7e308], 1.7e308),
        ([1e200], 1e200),
    ],
)
def test_sums_beyond_the_largest_number_are_that_number(values: list[float], total: float) -> None:
    parsed = of({**SEED, "type": "d", "value": values})
    (unit,) = parsed.units
    assert np.frombuffer(unit.frame.distributions.sum, "<f8").tolist() == [total]
    assert np.frombuffer(unit.frame.distributions.sum_squares, "<f8").tolist() == [sys.float_info.max]
    check(unit.frame, latest_s=NOW_S)
