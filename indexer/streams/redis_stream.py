"""A stream of Redis as one consumer of a group sees it: the next batch, and its commit.

Owns the keys and calls the scripts (indexer/streams/scripts.py). Sync: runs in a thread.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, Final

import msgspec
import redis

from indexer.intern.redis_client import open_redis
from indexer.settings import StreamSettings
from indexer.streams.batch import Batch, Entries, StoredBatch
from indexer.streams.reading_rules import ReadingRules, decoded, encoded
from indexer.streams.scripts import COMMIT, CREATE, KEEP, NEXT
from indexer.streams.source import SourceError
from indexer.write.health import Part

#: Bounds connecting and each answer: a script with a large batch takes some milliseconds.
_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.1
_PARKED_POLL_S: Final = 1.0
#: Redis takes strings of at most 512 MiB.
_MAX_PARKED_BYTES: Final = 256 << 20


class RedisStream:
    """One consumer of the group of the settings, a Source. `consumer` is its name.

    `rules`: of new batches. `parked`: it consumes the parked frames of the stream.
    """

    part: Final = Part.STREAM
    server: Final = "redis"
    max_parked_bytes: Final = _MAX_PARKED_BYTES

    def __init__(
        self, settings: StreamSettings, consumer: str, rules: ReadingRules, *, parked: bool = False
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        if parked:  # the messages were judged by the rules that each frame has
            rules = msgspec.structs.replace(rules, body_bytes=2 * _MAX_PARKED_BYTES)
        self._rules = rules
        self._parked = parked
        self._redis = open_redis(settings.url, _TIMEOUT_S)
        of_group = f"{settings.key}:{settings.group}"
        parked_key = f"{of_group}:parked"
        self.stream = parked_key if parked else settings.key
        self.group = settings.group
        self._batches = f"{self.stream}:batches" if parked else f"{of_group}:batches"
        self._outcomes = [f"{of_group}:dead-letters", f"{of_group}:commit-log", parked_key]
        self._scripts = {text: self._redis.register_script(text) for text in (CREATE, NEXT, KEEP, COMMIT)}
        self.keep_s = settings.claim_s / 3
        self.poll_s = _PARKED_POLL_S if parked else _POLL_S

    def next(self) -> Batch | None:
        """Return the batch that this consumer holds, a dead consumer's, or a new one; None for no message."""
        s = self._settings
        rules = encoded(self._rules)
        arguments = [s.group, self._consumer, s.entries, s.bytes, rules, int(s.claim_s * 1000)]
        try:
            answer = self._run(NEXT, [self.stream, self._batches], arguments)
        except SourceError as e:
            if "NOGROUP" not in str(e):
                raise
            self._run(CREATE, [self.stream, self._batches], [s.group, uuid.uuid4().hex])
            return None
        return self._batch(*answer) if answer else None

    def _batch(
        self,
        first: bytes,
        last: bytes,
        ids: bytes,
        sizes: bytes,
        messages: bytes,
        taken: int,
        name: bytes,
        rules: bytes,
    ) -> Batch:
        return Batch(
            key=f"stream/{name.decode()}/{first.decode()}/{last.decode()}",
            first=first.decode(),
            last=last.decode(),
            at_ms=int(last.partition(b"-")[0]),
            rules=decoded(rules) or self._rules,
            entries=_entries(ids, sizes, messages),
            taken_over=bool(taken),
            parked=self._parked,
        )

    def keep(self, batch: Batch) -> bool:
        """Say that this consumer lives; return whether the batch is still its."""
        return bool(self._run(KEEP, [self._batches], [self._consumer, batch.first, batch.last]))

    def commit(self, batch: Batch, stored: StoredBatch) -> bool:
        """Acknowledge a stored batch, with its dead letters and its entry of the commit log.

        Return False, with nothing done, if another consumer has taken the batch over.
        """
        s = self._settings
        arguments = [
            *(s.group, self._consumer, batch.first, batch.last, s.dead_letters, s.commit_log),
            *(stored.messages, stored.rows, int(self._parked), len(stored.parked)),
            *stored.parked,
            *chain.from_iterable(stored.bad),
        ]
        return bool(self._run(COMMIT, [self.stream, self._batches, *self._outcomes], arguments))

    def close(self) -> None:
        """Close the client."""
        self._redis.close()

    def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        try:
            return self._scripts[script](keys=list(keys), args=list(arguments))
        except (redis.RedisError, OSError) as e:
            raise SourceError(str(e)) from e


def _entries(ids: bytes, sizes: bytes, messages: bytes) -> Entries:
    lengths = list(map(int, sizes.split()))
    faults = {place: _fault(size) for place, size in enumerate(lengths) if size < 0}
    ends = accumulate((max(0, size) for size in lengths), initial=0)
    return Entries(ids.decode().split(), [messages[a:b] for a, b in pairwise(ends)], faults)


def _fault(size: int) -> str:
    if size == -1:
        return "no field `message`: expected it, or a single field"
    return f"{-2 - size} bytes: expected at most indexer.bounds.body_bytes"
