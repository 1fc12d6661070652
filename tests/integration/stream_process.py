"""An indexer with a stream in a process of its own that dies at a given place.

python -m tests.integration.stream_process DSN BATCHING JOURNAL REDIS KILL    prints its address

KILL is a place of tests/integration/indexer_process.py, or `read` and `commit`: after a batch is read, and
before it is committed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from indexer.run import run
from indexer.settings import JournalSettings, Settings, StreamSettings
from indexer.streams.redis_stream import RedisStream
from tests.integration.indexer_process import arm, die, listening


def arm_stream(kill: str) -> None:
    """Put the death into the real stream."""
    if kill == "commit":
        RedisStream.commit = lambda *_: die()  # type: ignore[assignment,method-assign]
    real = RedisStream.next

    def read(self: RedisStream) -> Any:
        batch = real(self)
        if batch is not None:
            die()
        return batch

    if kill == "read":
        RedisStream.next = read  # type: ignore[method-assign]  # the point of this launcher


if __name__ == "__main__":
    dsn, batching, journal, redis_url, kill = sys.argv[1:]
    (arm_stream if kill in ("read", "commit") else arm)(kill)
    stream = StreamSettings(url=redis_url, consumer="one")
    tree = {"dsn": dsn, "batching": batching, "listen": "127.0.0.1:0", "up": False}
    settings = Settings(stream=stream, journal=JournalSettings(path=journal), **tree)  # type: ignore[arg-type]
    asyncio.run(run(settings, ready=listening))
