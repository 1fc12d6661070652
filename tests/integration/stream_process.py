"""An indexer with a stream in a process of its own that dies at a given place.

python -m tests.integration.stream_process DSN BATCHING JOURNAL SOURCE KILL [NAME]    prints its address

SOURCE is the URL of a Redis, or kafka:HOST:PORT/TOPIC. NAME is that of the consumer in Redis.

KILL is a place of tests/integration/indexer_process.py, or `read` and `commit`: after a batch is read, and
before it is committed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from indexer.run import run
from indexer.settings import JournalSettings, KafkaSettings, Settings, StreamSettings
from indexer.streams.kafka_stream import KafkaStream
from indexer.streams.redis_stream import RedisStream
from tests.integration.indexer_process import arm, die, listening


def arm_stream(cls: Any, kill: str) -> None:
    """Put the death into the real source."""
    if kill == "commit":
        cls.commit = lambda *_: die()
    real = cls.next

    def read(self: Any) -> Any:
        batch = real(self)
        if batch is not None:
            die()
        return batch

    if kill == "read":
        cls.next = read  # the point of this launcher


if __name__ == "__main__":
    dsn, batching, journal, source, kill, *name = sys.argv[1:]
    in_kafka = source.startswith("kafka:")
    if kill in ("read", "commit"):
        arm_stream(KafkaStream if in_kafka else RedisStream, kill)
    else:
        arm(kill)
    tree: dict[str, Any] = {"dsn": dsn, "batching": batching, "listen": "127.0.0.1:0", "up": False}
    if in_kafka:
        brokers, _, topic = source.removeprefix("kafka:").partition("/")
        soon = {"session.timeout.ms": "4000", "heartbeat.interval.ms": "200"}
        tree["kafka"] = KafkaSettings(brokers=brokers, topic=topic, options=soon)
    else:
        tree["stream"] = StreamSettings(url=source, consumer=name[0] if name else "one", claim_s=5)
    settings = Settings(journal=JournalSettings(path=journal), **tree)
    asyncio.run(run(settings, ready=listening))
