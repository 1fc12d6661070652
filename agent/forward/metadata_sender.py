"""Sends metric metadata from the mapping file to the indexer: help, unit, buckets (`POST /v1/metadata`).

Owns when it is sent: soon after a name first occurs, and all names again each hour, since the indexer or its
store may be new. After a failure Retry-After and a growing backoff decide. It has a thread and a connection
of its own, and only if the file has metadata; frames never wait for it. Unsent metadata is tried once more
when the agent stops.
"""

from __future__ import annotations

import enum
import random
import threading
import time
from collections import Counter
from typing import Final

import msgspec

from agent.forward.channel import Answer, Channel, Outcome
from agent.forward.credentials import Credentials
from agent.forward.current_channel import OpenChannel, SendsBodies
from agent.runtime.logs import Log
from agent.settings import AgentSettings
from agent.wire.metadata import CONTENT_TYPE, MAX_NAME, PATH, MetricDescription, encode

#: Maximum number of names; further ones are dropped and counted.
MAX_NAMES: Final = 10_000
#: Names of one request.
_BATCH: Final = 500
_AGAIN_S: Final = 3_600.0
#: The first new name waits this long, up to twice that, so that names are sent together.
_LINGER_S: Final = 0.2
_BACKOFF_S: Final = 1.0
_MAX_BACKOFF_S: Final = 60.0
_TIMEOUT_S: Final = 2.0
#: Answers of an indexer without support for metadata.
_UNKNOWN: Final = (404, 405)


class MetadataOutcome(enum.Enum):
    """Outcomes of names; labels of `meterhouse_agent_metadata_total`."""

    SENT = "sent"
    RETRIED = "retried"
    REFUSED = "refused"
    DROPPED = "dropped"  # more than MAX_NAMES, or a name too long for a message


class MetadataSender:
    """Sends metadata in a thread. Counters are plain numbers for agent/telemetry/metrics.py."""

    def __init__(
        self,
        settings: AgentSettings,
        log: Log,
        rng: random.Random | None = None,
        *,
        again_s: float = _AGAIN_S,
        credentials: Credentials | None = None,
        open_channel: OpenChannel | None = None,
    ) -> None:
        self.told: Counter[MetadataOutcome] = Counter()
        forward = settings.forward
        limited = msgspec.structs.replace(forward, timeout_s=min(forward.timeout_s, _TIMEOUT_S))
        opened = open_channel or Channel
        self._channel: SendsBodies = opened(limited, PATH, CONTENT_TYPE, credentials)
        self._org_id, self._project_id = settings.org_id, settings.project_id
        self._log = log
        self._rng = rng or random.Random()  # noqa: S311
        self._again_s = again_s
        self._changed = threading.Condition()
        self._known: dict[str, MetricDescription] = {}
        self._waiting: dict[str, MetricDescription] = {}
        self._failures = 0  # in a row
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="metadata", daemon=True)

    def describe(self, name: str, described: MetricDescription) -> None:
        """Add help, unit and buckets of a metric, from any thread. The first value of each is kept."""
        with self._changed:
            before = self._known.get(name)
            merged = described if before is None else before.filled(described)
            if merged == before:
                return
            if before is None and (len(self._known) >= MAX_NAMES or len(name) > MAX_NAME):
                self.told[MetadataOutcome.DROPPED] += 1
                return
            self._known[name] = self._waiting[name] = merged
            self._changed.notify_all()

    def forget(self) -> None:
        """Forget all descriptions: a mapping file that changed has new ones."""
        with self._changed:
            self._known.clear()

    def counts(self) -> dict[str, float]:
        """Return how many metrics had each outcome (values of MetadataOutcome)."""
        return {told.value: self.told[told] for told in MetadataOutcome}

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; unsent metadata is tried once more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(2 * _TIMEOUT_S)
        if not self._thread.is_alive():  # else it has the connection
            while self._waiting and not self._send():
                pass
            self._channel.close()

    def _run(self) -> None:
        next_s = self._next_s()
        while not self._stopping:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping, next_s - time.monotonic())
                if not self._waiting:  # all again
                    self._waiting.update(self._known)
                    next_s = self._next_s()
                    continue
            self._pause(self._rng.uniform(_LINGER_S, 2 * _LINGER_S))
            while self._waiting and not self._stopping:
                self._pause(self._send())

    def _next_s(self) -> float:
        """Return when everything is sent again, spread so that agents started together differ."""
        return time.monotonic() + self._rng.uniform(0.9, 1.1) * self._again_s

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, seconds)

    def _send(self) -> float:
        """Send some waiting names; return the time to wait before the next request."""
        with self._changed:
            batch = dict(list(self._waiting.items())[:_BATCH])
        answer = self._channel.send(encode(self._org_id, self._project_id, batch))
        known = answer.status not in _UNKNOWN
        if answer.outcome is Outcome.ACCEPTED:
            self._settle(batch, MetadataOutcome.SENT)
            return 0.0
        self._log.throttled(
            "metadata_failed", outcome=answer.outcome.value, status=answer.status, text=answer.text[:200]
        )
        if answer.outcome is Outcome.REFUSED or not known:
            self._settle(batch, MetadataOutcome.REFUSED)
            return 0.0
        self.told[MetadataOutcome.RETRIED] += len(batch)
        return self._backoff_s(answer)

    def _settle(self, batch: dict[str, MetricDescription], told: MetadataOutcome) -> None:
        """Remove names that were answered, unless their metadata changed since."""
        self._failures = 0
        self.told[told] += len(batch)
        with self._changed:
            for name, described in batch.items():
                if self._waiting.get(name) == described:
                    del self._waiting[name]

    def _backoff_s(self, answer: Answer) -> float:
        ceiling_s = min(_MAX_BACKOFF_S, _BACKOFF_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return max(self._rng.uniform(ceiling_s / 2, ceiling_s), min(answer.retry_after_s, _MAX_BACKOFF_S))
