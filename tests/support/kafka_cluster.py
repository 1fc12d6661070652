"""librdkafka's mock cluster in a process of its own: a real client's broker, whose topics are in memory.

Topics are made when they are written or asked for, with four partitions. Groups, generations and metadata of
positions work; it keeps no positions of transactions, and creates no topics on request.
"""

from __future__ import annotations

import subprocess
import sys

from confluent_kafka import Consumer, Message, Producer, TopicPartition

_PROGRAM = """
import sys
from confluent_kafka import Producer
mock = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": "1", "log_level": 0})
(broker,) = mock.list_topics(timeout=120).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""


class KafkaCluster:
    """A mock cluster; `brokers` is its address."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._child.stdout is not None
        self.brokers = self._child.stdout.readline().strip()
        if not self.brokers:
            self.stop()
            raise AssertionError("the mock cluster did not start")

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP hangs it."""
        self._child.send_signal(number)

    def add(self, topic: str, *messages: bytes, partition: int = 0) -> None:
        """Write messages to a partition, and wait until they are there."""
        producer = Producer({"bootstrap.servers": self.brokers})
        for message in messages:
            producer.produce(topic, message, partition=partition)
        assert producer.flush(120) == 0

    def read(self, topic: str) -> list[Message]:
        """Return all messages of a topic."""
        consumer = Consumer(
            {"bootstrap.servers": self.brokers, "group.id": "reader", "enable.partition.eof": True}
        )
        partitions = consumer.list_topics(topic, timeout=120).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        found: list[Message] = []
        ended: set[int | None] = set()
        while len(ended) < len(partitions):
            for message in consumer.consume(100, 0.1):
                if message.error() is None:
                    found.append(message)
                else:
                    ended.add(message.partition())
        consumer.close()
        return found

    def committed(self, topic: str, group: str) -> dict[int, int]:
        """Return a group's positions in a topic; those of batches that are not stored are left out."""
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": group})
        partitions = [TopicPartition(topic, n) for n in range(4)]
        found = consumer.committed(partitions, timeout=120)
        consumer.close()
        return {one.partition: one.offset for one in found if one.offset >= 0 and not one.metadata}

    def stop(self) -> None:
        self._child.kill()
        self._child.communicate()  # closes its pipes, too
