"""Batches of streams: the recorded rules decide, and a parked frame keeps its name."""

from __future__ import annotations

from typing import Any

import msgspec

from indexer.clickhouse.retention import Retention
from indexer.settings import Bounds, Settings
from indexer.streams.batch import Batch, Entries, ReadBatch, read
from indexer.streams.kafka_buffer import PartitionBuffer
from indexer.streams.kafka_cut import MAX_METADATA_BYTES, KafkaCut, cut_of, metadata_of
from indexer.streams.reading_rules import ReadingRules, decoded, encoded, present_rules

NOW_S = 1_647_532_800
DAY_S = 86_400
HIT = {"org_id": 1, "project_id": 1, "name": "hits", "timestamp": NOW_S, "type": "c", "value": 1}
RULES = present_rules(Settings(), "*:*")


def read_of(
    *messages: dict[str, Any], rules: ReadingRules = RULES, parked: bool = False, frame_bytes: int = 10_000
) -> ReadBatch:
    entries = Entries([str(i) for i in range(len(messages))], [msgspec.json.encode(m) for m in messages])
    return read(Batch("key", "0", "9", NOW_S * 1000, rules, entries, parked=parked, frame_bytes=frame_bytes))


def test_an_identity_depends_on_no_other_message_and_no_setting() -> None:
    old = {**HIT, "retention_days": 30, "timestamp": NOW_S - 20 * DAY_S}
    short = present_rules(Settings(retention=Retention(7, 7, 7, 7)), "*:*")
    long, found = read_of(old, HIT), read_of(old, HIT, rules=short)
    assert (len(long.frames), len(found.frames), found.expired) == (2, 1, 1)
    assert found.frames[0][0].identity == long.frames[1][0].identity
    assert len({unit.identity for unit, _ in long.frames}) == 2


def test_rules_are_recorded_whole() -> None:
    rules = present_rules(Settings(bounds=Bounds(messages=7)), "1:*")
    assert decoded(encoded(rules)) == rules
    assert " " not in encoded(rules)
    assert decoded("") is decoded("{}") is None
    found = read_of({**HIT, "org_id": 2}, rules=rules)
    assert (found.frames, found.forbidden) == ([], 1)


def test_a_parked_frame_is_the_same_frame() -> None:
    batch = read_of(HIT, {**HIT, "org_id": 2}, {**HIT, "value": "x"}, HIT)
    (unit, origin), _ = batch.frames
    assert not batch.park(unit, origin, 10)
    assert batch.park(unit, origin, 10_000)
    assert (batch.stored(1).messages, len(batch.bad)) == (1, 1)
    later = present_rules(Settings(), "7:*")
    (parked,) = batch.parked
    again = read_of(msgspec.json.decode(parked), rules=later, parked=True)
    ((same, of_same),) = again.frames
    assert (same.identity, same.body) == (unit.identity, unit.body)
    assert again.park(same, of_same, 10_000)
    assert again.parked == batch.parked
    again = read_of(HIT, rules=later, parked=True)
    assert "not a parked frame" in again.bad[0].reason


def test_large_batches_are_several_frames_of_their_own_names() -> None:
    batch = read_of(HIT, HIT, HIT, frame_bytes=2 * len(msgspec.json.encode(HIT)))
    assert [unit.frame.rows for unit, _ in batch.frames] == [2, 1]
    assert len({unit.identity for unit, _ in batch.frames}) == 2
    assert len(read_of(HIT, HIT, frame_bytes=1).frames) == 2


def test_entries_that_are_messages_only_together_are_not() -> None:
    hit = msgspec.json.encode(HIT)
    texts = [hit + b"," + hit, hit[:20], hit[20:], b"", b" " + hit]
    entries = Entries([str(i) for i in range(6)], [*texts, b""], {5: "why"})
    found = read(Batch("key", "0", "9", NOW_S * 1000, RULES, entries))
    assert [bad.id for bad in found.bad] == ["0", "1", "2", "3", "5"]
    assert found.messages == 1
    arrays = Entries(["0", "1"], [b"[%b,%b]" % (hit, hit), b"[]"])
    assert read(Batch("key", "0", "9", NOW_S * 1000, RULES, arrays)).messages == 2
    entries = Entries(["0", "1", "2"], texts[:3])
    assert len(read(Batch("key", "0", "9", NOW_S * 1000, RULES, entries)).bad) == 3


def test_refused_messages_are_those_of_the_frame() -> None:
    batch = read_of(HIT, {**HIT, "org_id": 2}, HIT)
    unit, origin = batch.frames[0]
    batch.refuse(unit, origin, "why")
    assert [(bad.id, bad.reason) for bad in batch.bad] == [("0", "why"), ("2", "why")]
    assert batch.stored(0).messages == 1


def test_a_position_records_its_batch() -> None:
    cut = KafkaCut(5, 9, NOW_S * 1000, RULES)
    assert cut_of(5, metadata_of(cut)) == cut
    assert len(metadata_of(cut)) < MAX_METADATA_BYTES
    for offset, metadata in ((6, metadata_of(cut)), (5, ""), (5, None), (5, "another tool's")):
        assert cut_of(offset, metadata) is None
    assert cut.key("g", "t", 1) != KafkaCut(5, 9, 1, RULES).key("g", "t", 1)


def test_a_buffer_cuts_and_gives_what_was_cut() -> None:
    buffer = PartitionBuffer()
    assert len(buffer) == 0
    for offset in (3, 4, 4, 7, 8):  # 5 and 6 were removed, 4 came twice
        buffer.append(offset, b"x" * 10)
    assert (len(buffer), buffer.bytes) == (4, 40)
    assert [buffer.last_of(*most) for most in ((3, 100), (9, 25), (9, 1), (9, 100))] == [7, 4, 3, 8]
    assert not buffer.has_all_to(9)
    buffer.reached(10)
    assert buffer.has_all_to(9)
    assert buffer.take(4, 7, 10).ids == ["4", "7"]  # 3 is before the position
    assert (len(buffer), buffer.bytes) == (1, 10)
    assert buffer.take(4, 8, 9).faults == {0: "10 bytes: expected at most indexer.bounds.body_bytes"}
