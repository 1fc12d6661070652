"""Writes to topics for a stored batch: its dead letters, its parked frames, its entry of the commit log.

All are written before the position is committed, and those of a batch that is stored again are written again:
their keys are positions, by which a reader knows them.
"""

from __future__ import annotations

import json
import time
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from indexer.settings import KafkaSettings
from indexer.streams.batch import BadMessage, Batch, StoredBatch
from indexer.streams.kafka_client import producer_options
from indexer.streams.source import SourceError

#: A dead letter's text beyond this size is left out: with its headers it would be too large for a topic.
_MAX_TEXT_BYTES: Final = 900_000
#: Maximum size of a parked frame; topics take 1,048,588 bytes with all that belongs to a message.
MAX_PARKED_BYTES: Final = 950_000
_FLUSH_S: Final = 30.0


class KafkaOutlet:
    """The topics that a group writes. `topic` is the one that its batches are of."""

    def __init__(self, settings: KafkaSettings, topic: str, parked_topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._parked = parked_topic
        of_group = f"{settings.topic}-{settings.group}"
        self._dead_letters = settings.dead_letter_topic or f"{of_group}-dead-letters"
        self._producer: Producer | None = None
        self._failed = ""

    def send(self, batch: Batch, stored: StoredBatch) -> None:
        """Write all of a stored batch, and wait until the brokers have it. Raises SourceError."""
        self._failed = ""
        try:
            for bad in stored.bad:
                self._dead_letter(batch, bad)
            for number, frame in enumerate(stored.parked):
                self._produce(self._parked, f"{batch.key}/{number}", frame)
            if self._settings.commit_log_topic:
                key = f"{self._topic}/{batch.partition}"
                self._produce(self._settings.commit_log_topic, key, self._logged(batch, stored))
            waiting = self._producer.flush(_FLUSH_S) if self._producer is not None else 0
        except (KafkaException, BufferError) as e:
            raise SourceError(str(e)) from e
        if self._failed or waiting:
            raise SourceError(self._failed or "messages are not acknowledged")

    def close(self) -> None:
        """Drop messages that are not written; they are of a batch that is not committed."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(1.0)

    def _dead_letter(self, batch: Batch, bad: BadMessage) -> None:
        position = f"{self._topic}/{batch.partition}/{bad.id}"
        headers = {
            "reason": bad.reason,
            "topic": self._topic,
            "partition": str(batch.partition),
            "offset": bad.id,
        }
        text = bad.text if len(bad.text) <= _MAX_TEXT_BYTES else b""
        self._produce(self._dead_letters, position, text, headers)

    def _logged(self, batch: Batch, stored: StoredBatch) -> bytes:
        return json.dumps(
            {
                "group": self._settings.group,
                "topic": self._topic,
                "partition": batch.partition,
                "from": int(batch.first),
                "to": int(batch.last),
                "messages": stored.messages,
                "rows": stored.rows,
                "dead_letters": len(stored.bad),
                "parked": len(stored.parked),
                "stored_ms": time.time_ns() // 1_000_000,
            }
        ).encode()

    def _produce(self, topic: str, key: str, value: bytes, headers: dict[str, str] | None = None) -> None:
        producer = self._producer = self._producer or self._open()
        while True:
            try:
                producer.produce(
                    topic,
                    value,
                    key,
                    on_delivery=self._delivered,
                    headers=dict(headers) if headers else None,
                )
            except BufferError:  # the queue is full: wait for deliveries
                if self._failed or not producer.poll(_FLUSH_S):
                    raise
            else:
                return

    def _open(self) -> Producer:
        return Producer(
            {
                **producer_options(self._settings),
                "enable.idempotence": True,
                "compression.type": "lz4",
                "message.timeout.ms": int(_FLUSH_S * 1000),
            }
        )

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed = f"topic {message.topic()}: {error.str()}"
