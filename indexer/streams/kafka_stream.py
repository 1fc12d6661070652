"""A topic of Kafka as one consumer of a group sees it: the next batch, and its commit.

A batch is of one partition. Before it is stored, its offsets, time and rules are committed with the position
(indexer/streams/kafka_cut.py): a consumer that comes back, or one that is assigned the partition after it,
reads the same messages under the same name. The group's generation keeps a consumer that lost the partition
from committing. Sync: runs in threads.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from indexer.settings import KafkaSettings
from indexer.streams.batch import Batch, Entries, StoredBatch
from indexer.streams.kafka_buffer import PartitionBuffer
from indexer.streams.kafka_client import consumer_options
from indexer.streams.kafka_cut import KafkaCut, cut_of, metadata_of
from indexer.streams.kafka_outlet import MAX_PARKED_BYTES, KafkaOutlet
from indexer.streams.reading_rules import ReadingRules
from indexer.streams.source import SourceError
from indexer.write.health import Part

#: Messages taken from the client at once: bounds the bytes read beyond those of a batch.
_SLICE: Final = 200
#: Bytes of messages in a frame, so that it may be parked.
_FRAME_BYTES: Final = 900_000
#: Batches that are read ahead at most: a partition's batch is small if it has to share this with many.
_BATCHES: Final = 4
_WAIT_S: Final = 0.25
_ASK_S: Final = 5.0
#: How often a topic that is not there is looked for.
_REFRESH_MS: Final = 5_000
#: Kilobytes that the client reads ahead.
_AHEAD_KB: Final = 16_384
#: Events of the client that may mean that no broker answers.
_AWAY: Final = frozenset({"_ALL_BROKERS_DOWN", "_AUTHENTICATION", "_SSL", "_RESOLVE"})
#: Answers to a commit of a consumer that has lost its partitions.
_LOST: Final = frozenset(
    {"ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "FENCED_INSTANCE_ID", "_ASSIGNMENT_LOST"}
)
_END: Final = "_PARTITION_EOF"
_NO_TOPIC: Final = frozenset({"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"})


class _Partition:
    """An assigned partition: its messages, its committed position, and the batch that this records."""

    def __init__(self) -> None:
        self.buffer = PartitionBuffer()
        self.asked = False
        self.cut: KafkaCut | None = None
        self.position = -1  # unknown, or none is committed


class KafkaStream:
    """One consumer of the group of the settings, a Source.

    `rules`: of new batches. `parked`: it consumes the parked frames of the topic.
    """

    part: Final = Part.KAFKA
    server: Final = "kafka"
    keep_s: Final = 1.0
    max_parked_bytes: Final = MAX_PARKED_BYTES

    def __init__(self, settings: KafkaSettings, rules: ReadingRules, *, parked: bool = False) -> None:
        parked_topic = settings.parked_topic or f"{settings.topic}-{settings.group}-parked"
        self._settings = settings
        self._rules = rules
        self._is_parked = parked
        self.stream = parked_topic if parked else settings.topic
        self.group = f"{settings.group}-parked" if parked else settings.group
        self.poll_s = 1.0 if parked else 0.0
        self._outlet = KafkaOutlet(settings, self.stream, parked_topic)
        self._partitions: dict[int, _Partition] = {}
        self._held: Batch | None = None
        self._paused = False
        self._away = ""
        self._lock = threading.RLock()
        self._consumer = Consumer(
            {
                "topic.metadata.refresh.interval.ms": _REFRESH_MS,
                "session.timeout.ms": 30_000,
                **consumer_options(settings),
                "group.id": self.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": _AHEAD_KB,
                "error_cb": self._note,
            }
        )
        self._consumer.subscribe(
            [self.stream], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def next(self) -> Batch | None:
        """Return the batch that this consumer holds, or a new one, whose offsets are recorded."""
        with self._lock:
            self._go_on()
            self._fill(_WAIT_S)
            if self._held is None:
                self._held = self._cut()
            if self._held is None and self._away:
                self._check_brokers()
            return self._held

    def keep(self, batch: Batch) -> bool:
        """Say that this consumer lives; return whether the batch is still its."""
        with self._lock:
            if not self._has_room():  # partitions that were assigned meanwhile are not paused yet
                self._consumer.pause(self._consumer.assignment())
                self._paused = True
            self._read(_SLICE, 0.0)
            return batch is self._held

    def commit(self, batch: Batch, stored: StoredBatch) -> bool:
        """Write dead letters, parked frames and commit log; then move the position past a stored batch.

        Return False if the partition was assigned to another consumer.
        """
        if not self.keep(batch):
            return False
        self._outlet.send(batch, stored)  # without the lock: `keep` goes on
        with self._lock:
            if not self.keep(batch):
                return False
            if self._commit(batch.partition, int(batch.last) + 1, ""):
                partition = self._partitions[batch.partition]
                partition.cut, partition.position = None, int(batch.last) + 1
                self._held = None
                return True
            return False

    def close(self) -> None:
        """Leave the group."""
        with self._lock:
            self._consumer.close()
        self._outlet.close()

    def _cut(self) -> Batch | None:
        """Return the next batch of the partition that waits longest, with its offsets recorded."""
        self._ask_positions()
        for number, partition in list(self._partitions.items()):
            recorded, buffer = partition.cut, partition.buffer
            if recorded is not None and not buffer.has_all_to(recorded.last):
                continue
            if recorded is None and (first := buffer.first) is not None:
                last = buffer.last_of(self._settings.entries, self._settings.bytes)
                cut = KafkaCut(first, last, time.time_ns() // 1_000_000, self._rules)
                lost = self._lost(number, partition.position, first)
                if not self._commit(number, first, metadata_of(cut)):
                    return None
                partition.cut = cut
                return self._taken(number, partition, cut, lost)
            if recorded is not None:
                return self._taken(number, partition, recorded)
        return None

    def _lost(self, number: int, position: int, first: int) -> int:
        """Return how many offsets from a position on the broker has removed; others never had a message."""
        if not 0 <= position < first:
            return 0
        try:
            low, _ = self._consumer.get_watermark_offsets(TopicPartition(self.stream, number), _ASK_S)
        except KafkaException as e:
            raise SourceError(str(e)) from e
        return max(0, min(low, first) - position)

    def _taken(self, number: int, partition: _Partition, cut: KafkaCut, lost: int = 0) -> Batch:
        self._partitions[number] = self._partitions.pop(number)  # the others are next
        max_bytes = sys.maxsize if self._is_parked else cut.rules.body_bytes
        return self._batch(number, cut, partition.buffer.take(cut.first, cut.last, max_bytes), lost)

    def _batch(self, partition: int, cut: KafkaCut, entries: Entries, lost: int) -> Batch:
        return Batch(
            key=cut.key(self.group, self.stream, partition),
            first=str(cut.first),
            last=str(cut.last),
            at_ms=cut.at_ms,
            rules=cut.rules,
            entries=entries,
            partition=partition,
            parked=self._is_parked,
            frame_bytes=_FRAME_BYTES,
            lost=lost,
        )

    def _ask_positions(self) -> None:
        """Read the recorded batches of partitions that were assigned."""
        unknown = [number for number, one in self._partitions.items() if not one.asked]
        if not unknown:
            return
        try:
            positions = self._consumer.committed([TopicPartition(self.stream, n) for n in unknown], _ASK_S)
        except KafkaException as e:
            raise SourceError(str(e)) from e
        for position in positions:
            if position.error is not None:
                raise SourceError(position.error.str())
            if (partition := self._partitions.get(position.partition)) is not None:
                partition.asked, partition.position = True, position.offset
                partition.cut = cut_of(position.offset, position.metadata)

    def _commit(self, partition: int, offset: int, metadata: str) -> bool:
        """Commit a position; return False if the partition is lost or being assigned. Raises SourceError."""
        position = TopicPartition(self.stream, partition, offset, metadata=metadata)
        try:
            answers = self._consumer.commit(offsets=[position], asynchronous=False)
            error = next((answer.error for answer in answers or () if answer.error is not None), None)
        except KafkaException as e:
            error = e.args[0]
        if error is None:
            return True
        if error.name() in _LOST:
            self._revoked(self._consumer, list(self._consumer.assignment()))
        if error.name() in (*_LOST, "REBALANCE_IN_PROGRESS"):
            return False
        raise SourceError(f"commit: {error.str()}")

    def _fill(self, wait_s: float) -> None:
        while self._has_room():
            wait_s = wait_s if not any(len(one.buffer) for one in self._partitions.values()) else 0.02
            if self._read(_SLICE, 0.0 if self._held is not None else wait_s) < _SLICE:
                break

    def _has_room(self) -> bool:
        """Return whether more may be read: no partition has a whole batch, and all have some batches.

        A recorded batch is read as a whole, as large as it is.
        """
        entries, size = self._settings.entries, self._settings.bytes
        buffers = [
            one.buffer
            for one in self._partitions.values()
            if one.cut is None or one.buffer.has_all_to(one.cut.last)
        ]
        return (
            all(len(b) < entries and b.bytes < size for b in buffers)
            and sum(map(len, buffers)) < _BATCHES * entries
            and sum(b.bytes for b in buffers) < _BATCHES * size
        )

    def _read(self, number: int, wait_s: float) -> int:
        try:
            messages = self._consumer.consume(number, wait_s)
        except KafkaException as e:
            raise SourceError(str(e)) from e
        for message in messages:
            self._take(message)
        return len(messages)

    def _take(self, message: Message) -> None:
        error, number, offset = message.error(), message.partition(), message.offset()
        if error is not None and error.name() != _END:
            self._fail(error)
            return
        self._away = ""
        if number is None or offset is None or (partition := self._partitions.get(number)) is None:
            return
        if error is not None:
            partition.buffer.reached(offset)
            return
        partition.buffer.append(offset, message.value() or b"")

    def _fail(self, error: KafkaError) -> None:
        """Raise SourceError, except for a topic of parked frames that is not there yet."""
        if error.name() == "_MAX_POLL_EXCEEDED" or (self._is_parked and error.name() in _NO_TOPIC):
            return
        raise SourceError(f"topic {self.stream}: {error.str()}")

    def _check_brokers(self) -> None:
        try:
            self._consumer.list_topics(self.stream, timeout=_ASK_S)
        except KafkaException as e:
            raise SourceError(self._away) from e
        self._away = ""

    def _go_on(self) -> None:
        if self._paused:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False

    def _note(self, error: KafkaError) -> None:
        if error.name() in _AWAY:
            self._away = error.str()

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        for one in partitions:
            self._partitions[one.partition] = _Partition()

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        for one in partitions:
            self._partitions.pop(one.partition, None)
            if self._held is not None and self._held.partition == one.partition:
                self._held = None
