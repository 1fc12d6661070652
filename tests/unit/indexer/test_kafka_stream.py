"""A consumer of a topic over a client whose answers are given: its bounds, and batches read again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from confluent_kafka import TopicPartition

from indexer.settings import Bounds, KafkaSettings, Settings
from indexer.streams import kafka_stream
from indexer.streams.kafka_stream import KafkaStream
from indexer.streams.reading_rules import present_rules


class GivenMessage(NamedTuple):
    number: int
    at: int
    text: bytes

    def error(self) -> None:
        """Return None: it is a message."""

    def partition(self) -> int:
        return self.number

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return self.text


class GivenTopic:
    """A topic, its group's positions, and the client of the one consumer."""

    def __init__(self, messages: dict[int, list[bytes]]) -> None:
        self.messages = messages
        self.committed_at: dict[int, TopicPartition] = {}
        self.read = 0
        self._next: dict[int, int] = {}
        self._paused: set[int] = set()
        self._on_assign: Callable[..., None] = print
        self._on_revoke: Callable[..., None] = print

    def assign(self, *numbers: int) -> None:
        self._on_revoke(self, self.assignment())
        self._next = {n: max(0, self._position(n).offset) for n in numbers}
        self._paused.clear()
        self._on_assign(self, self.assignment())

    def subscribe(self, _: Sequence[str], *, on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        del on_lost
        self._on_assign, self._on_revoke = on_assign, on_revoke

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("topic", n) for n in self._next]

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused |= {one.partition for one in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused -= {one.partition for one in partitions}

    def consume(self, number: int, _: float) -> list[GivenMessage]:
        out: list[GivenMessage] = []
        for n in self._next.keys() - self._paused:
            at = self._next[n]
            texts = self.messages[n][at : at + number - len(out)]
            out += [GivenMessage(n, at + i, text) for i, text in enumerate(texts)]
            self._next[n] += len(texts)
        self.read += len(out)
        return out

    def committed(self, partitions: Sequence[TopicPartition], _: float) -> list[TopicPartition]:
        return [self._position(one.partition) for one in partitions]

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> Sequence[TopicPartition]:
        del asynchronous
        self.committed_at |= {one.partition: one for one in offsets}
        return offsets

    def _position(self, number: int) -> TopicPartition:
        return self.committed_at.get(number, TopicPartition("topic", number))


def opened(monkeypatch: pytest.MonkeyPatch, topic: GivenTopic, **bounds: int) -> KafkaStream:
    monkeypatch.setattr(kafka_stream, "Consumer", lambda _: topic)
    rules = present_rules(Settings(bounds=Bounds(**bounds)), "*:*")
    return KafkaStream(KafkaSettings(brokers="given", topic="topic", entries=10), rules)


def test_partitions_assigned_during_a_long_batch_are_read_ahead_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = GivenTopic({0: [b"{}"] * 5_000, 1: [b"{}"] * 5_000})
    stream = opened(monkeypatch, topic)
    topic.assign(0)
    batch = stream.next()
    assert batch is not None
    assert stream.keep(batch)
    before = topic.read
    topic.assign(0, 1)  # ClickHouse takes nothing meanwhile
    for _ in range(20):
        assert not stream.keep(batch)
    assert topic.read <= before + 200
    again = stream.next()
    assert again is not None
    assert (again.key, again.entries) == (batch.key, batch.entries)


def test_a_batch_is_read_again_by_the_bound_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = GivenTopic({0: [b"small", b"x" * 2_000]})
    batches = []
    for body_bytes in (10_000, 1_024, 10_000):
        stream = opened(monkeypatch, topic, body_bytes=body_bytes)
        topic.assign(0)
        batch = stream.next()
        assert batch is not None
        batches.append(batch)
    assert batches[0].entries.faults == {}
    assert batches[0] == batches[1] == batches[2]
