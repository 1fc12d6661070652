"""The deletions that run in this process: one of an org at once, and the step of each. Thread-safe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

from indexer.deletion.deletion_request import TooManyDeletionsError


class Step(StrEnum):
    """The steps of a deletion, as `/status` shows them."""

    SAMPLES = "samples"
    WAITS = "waits_for_catalog"
    CATALOG = "catalog"


class RunningDeletion(NamedTuple):
    """A deletion that runs. `since_s`: monotonic."""

    org_id: int
    step: Step
    since_s: float


class RunningDeletions:
    """See the module. `clock_s` is monotonic."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._running: dict[int, RunningDeletion] = {}

    @contextmanager
    def begun(self, org_id: int) -> Iterator[None]:
        """Note a deletion while it runs. Raises TooManyDeletionsError if the org has one."""
        with self._lock:
            if org_id in self._running:
                raise TooManyDeletionsError(f"org {org_id}: another deletion is running: delete again later")
            self._running[org_id] = RunningDeletion(org_id, Step.SAMPLES, self._clock_s())
        try:
            yield
        finally:
            with self._lock:
                del self._running[org_id]

    def step(self, org_id: int, step: Step) -> None:
        """Note the step of an org's deletion."""
        with self._lock:
            if (running := self._running.get(org_id)) is not None:
                self._running[org_id] = running._replace(step=step)

    def listing(self) -> list[RunningDeletion]:
        """Return the deletions that run, the oldest first."""
        with self._lock:
            return sorted(self._running.values(), key=lambda one: one.since_s)
