"""Tracks whether the indexer can store anything, for /readyz, the metrics and the log.

Owns the present problems, one for the store, one for the journal and one for a stalled writer. A problem
lasts until the same thing works again. The log has a line when a problem begins, changes or ends, and one per
minute while it lasts. Thread-safe; the clock is monotonic.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.store_errors import StoreError

log = logging.getLogger(__name__)

#: How often a lasting problem is logged.
_LOG_EVERY_S: Final = 60.0
#: A frame that waits this long means that the writer stalls: nothing answers, and nothing fails.
STALLED_S: Final = 30.0
#: If something was stored within this time, a failure that may concern one batch is attributed to it.
_STORED_LATELY_S: Final = 10.0
#: Without a write that shows otherwise, a problem with writes ends after this time.
_FORGET_S: Final = 60.0


class Part(Enum):
    """The parts that can fail; the values are labels of metrics."""

    STORE = "store"
    JOURNAL = "journal"
    WRITER = "writer"
    STREAM = "stream"  # its Redis does not answer: the indexer is ready for the rest
    KAFKA = "kafka"  # its brokers do not answer: the indexer is ready for the rest
    BATCHES = "batches"  # some are set aside, others are stored: the indexer is ready
    ROOM = "room"  # there is none to set more batches aside, others are stored: the indexer is ready


#: Parts that take messages from elsewhere: without them the indexer can store.
OF_STREAMS: Final = frozenset({Part.STREAM, Part.KAFKA})
#: Parts without which the indexer is ready.
SPARED: Final = OF_STREAMS | {Part.BATCHES, Part.ROOM}


@dataclass(slots=True)
class _Problem:
    told: str
    since_s: float
    last_s: float
    logged_s: float


class Health:
    """The present problems. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._problems: dict[Part, _Problem] = {}
        self._stored_s: float | None = None
        #: Called when the store works again after a failure.
        self.on_back: Callable[[], None] = lambda: None

    def store_failed(self, error: StoreError) -> None:
        """Note a failed call that writes."""
        log.debug("event=store_detail detail=%s", error.detail)
        if error.fault is Fault.BYTES:
            return
        with self._lock:
            stored = self._stored_s is not None and self._clock() - self._stored_s < _STORED_LATELY_S
        part = Part.BATCHES if error.fault.of_one_batch and stored else Part.STORE
        self._failed(part, error.told, str(error))

    def store_works(self) -> None:
        """Note that rows were stored."""
        if self._works(Part.STORE):
            self.on_back()
        with self._lock:
            self._stored_s = self._clock()

    def batch_aside(self, told: str) -> None:
        """Note that a batch is set aside now, unless its failure is noted: the look for others may end it."""
        with self._lock:
            noted = any(problem.told == told for problem in self._problems.values())
        if not noted:
            self._failed(Part.BATCHES, told, told)

    def batch_damaged(self, told: str) -> None:
        """Note that a set-aside batch of the journal is damaged."""
        self._failed(Part.BATCHES, told, told)

    def nothing_aside(self) -> None:
        """Note that no batch is set aside."""
        self._works(Part.BATCHES)

    def no_room(self) -> None:
        """Note that a batch cannot be set aside for lack of room."""
        told = (
            "no room to set more batches aside: raise indexer.journal.aside_bytes,"
            " or settle some with `meterhouse set-aside`"
        )
        self._failed(Part.ROOM, told, told)

    def has_room(self) -> None:
        """Note that no batch waits for such room."""
        self._works(Part.ROOM)

    def journal_failed(self, text: str) -> None:
        """Note that the journal was not written."""
        self._failed(Part.JOURNAL, f"the journal cannot be written: {text}", text)

    def journal_works(self) -> None:
        """Note that the journal was written."""
        self._works(Part.JOURNAL)

    def stream_failed(self, part: Part, text: str) -> None:
        """Note that the server of a stream did not answer, or refused."""
        server = "Redis" if part is Part.STREAM else "Kafka"
        self._failed(part, f"{server} does not answer as it should: messages wait in the stream", text)

    def stream_works(self, part: Part) -> None:
        """Note that the server of a stream answered."""
        self._works(part)

    def oldest_waits(self, age_s: float) -> None:
        """Note how long the oldest frame in progress has waited."""
        if age_s >= STALLED_S:
            text = "the writer stalls: frames wait, and ClickHouse neither takes nor refuses them"
            self._failed(Part.WRITER, text, text)
        else:
            self._works(Part.WRITER)

    def problems(self) -> Mapping[Part, str]:
        """Return the present problems in words for clients, by part."""
        return {part: problem.told for part, problem in self._lasting().items()}

    def failing_s(self) -> float:
        """Return the seconds since writing began to fail; 0 if all works."""
        now = self._clock()
        lasting = self._lasting().items()
        return max(
            (now - problem.since_s for part, problem in lasting if part not in OF_STREAMS), default=0.0
        )

    def _lasting(self) -> dict[Part, _Problem]:
        with self._lock:
            now = self._clock()
            return {part: p for part, p in self._problems.items() if now - p.last_s < _FORGET_S}

    def _failed(self, part: Part, told: str, text: str) -> None:
        with self._lock:
            now = self._clock()
            known = self._problems.get(part)
            if known is not None and known.told == told:
                known.last_s = now
                if now - known.logged_s < _LOG_EVERY_S:
                    return
                known.logged_s = now
            else:
                since_s = now if known is None else known.since_s
                self._problems[part] = _Problem(told, since_s, now, now)
        log.error("event=%s_problem text=%s", part.value, text)

    def _works(self, part: Part) -> bool:
        with self._lock:
            known = self._problems.pop(part, None)
            now = self._clock()
        if known is not None:
            log.info("event=%s_works after_s=%.1f", part.value, now - known.since_s)
        return known is not None
