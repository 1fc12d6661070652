"""A stream of Redis as one consumer of a group sees it: the next batch, and its commit.

Owns the keys and calls the scripts (indexer/streams/scripts.py). Sync: runs in a thread. Each call raises
redis.RedisError or OSError while Redis does not answer, and may be repeated.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import redis

from indexer.intern.redis_client import open_redis
from indexer.settings import StreamSettings
from indexer.streams.batch import BadMessage, Batch, StreamEntry
from indexer.streams.scripts import COMMIT, CREATE, KEEP, NEXT

#: Bounds connecting and each answer: a script with a large batch takes some milliseconds.
_TIMEOUT_S: Final = 5.0


class RedisStream:
    """One consumer of the group of the settings. `consumer` is its name."""

    def __init__(self, settings: StreamSettings, consumer: str, max_entry_bytes: int) -> None:
        self._settings = settings
        self._consumer = consumer
        self._max_entry_bytes = max_entry_bytes
        self._redis = open_redis(settings.url, _TIMEOUT_S)
        of_group = f"{settings.key}:{settings.group}"
        self._batches = f"{of_group}:batches"
        self._dead_letters = f"{of_group}:dead-letters"
        self._commit_log = f"{of_group}:commit-log"
        self._scripts = {text: self._redis.register_script(text) for text in (CREATE, NEXT, KEEP, COMMIT)}

    def next(self) -> Batch | None:
        """Return the batch that this consumer holds, a dead consumer's, or a new one; None for no message."""
        s = self._settings
        arguments = [
            s.group,
            self._consumer,
            s.entries,
            s.bytes,
            self._max_entry_bytes,
            int(s.claim_s * 1000),
        ]
        try:
            answer = self._run(NEXT, [s.key, self._batches], arguments)
        except redis.ResponseError as e:
            if "NOGROUP" not in str(e):
                raise
            self._run(CREATE, [s.key, self._batches], [s.group, uuid.uuid4().hex])
            return None
        if not answer:
            return None
        first, last, ids, sizes, messages, taken, name = answer
        return Batch(
            name=name.decode(),
            first=first.decode(),
            last=last.decode(),
            entries=_entries(ids, sizes, messages),
            taken_over=bool(taken),
        )

    def keep(self, batch: Batch) -> bool:
        """Say that this consumer lives; return whether the batch is still its."""
        return bool(self._run(KEEP, [self._batches], [self._consumer, batch.first, batch.last]))

    def commit(self, batch: Batch, rows: int, messages: int, bad: Sequence[BadMessage]) -> bool:
        """Acknowledge a stored batch, with its dead letters and its entry of the commit log.

        Return False, with nothing done, if another consumer has taken the batch over.
        """
        s = self._settings
        keys = [s.key, self._batches, self._dead_letters, self._commit_log]
        position = [s.group, self._consumer, batch.first, batch.last, s.dead_letters, s.commit_log]
        return bool(self._run(COMMIT, keys, [*position, messages, rows, *chain.from_iterable(bad)]))

    def close(self) -> None:
        """Close the client."""
        self._redis.close()

    def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return self._scripts[script](keys=list(keys), args=list(arguments))


def _entries(ids: bytes, sizes: bytes, messages: bytes) -> list[StreamEntry]:
    entries, at = [], 0
    for entry_id, text in zip(ids.decode().split(), sizes.split(), strict=True):
        size = int(text)
        if size == -1:
            entries.append(StreamEntry(entry_id, b"", "no field `message`: expected it, or a single field"))
        elif size < 0:
            entries.append(
                StreamEntry(entry_id, b"", f"{-2 - size} bytes: expected at most indexer.bounds.body_bytes")
            )
        else:
            entries.append(StreamEntry(entry_id, messages[at : at + size]))
            at += size
    return entries
