"""Identities against a model: crashes between every two steps, and a journal that is kept, lost or older.

The model counts how often each frame's rows went in. A frame may count twice only where the journal was lost
while its batch was open, between its rows and its identities; and none is acknowledged that is not stored.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from indexer.clickhouse.schema.bookkeeping import IDENTITIES
from indexer.clickhouse.store import Store
from indexer.metrics import Metrics
from indexer.settings import Bounds, Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.identity import frame_identity
from indexer.write.journal import BatchState, Journal
from indexer.write.known_frames import KnownFrames, open_known_frames
from indexer.write.stored_identities import StoredIdentities
from tests.support.frames import counter_frame, unit

Step = Literal["begun", "rows", "identities", "finished", "answered"]
STEPS: tuple[Step, ...] = ("begun", "rows", "identities", "finished", "answered")
SETTINGS = Settings(bounds=Bounds(future_s=1))
Fate = Literal["kept", "lost", "older"]


class Died(Exception):
    """The process ends here."""


class Indexers(RuleBasedStateMachine):
    """One indexer after another. The order of steps is that of the writer."""

    def __init__(self, store: Store, directory: Path) -> None:
        super().__init__()
        self.store = store
        store.command(f"TRUNCATE TABLE {IDENTITIES}")
        self.path = directory / uuid.uuid4().hex / "journal.sqlite"
        self.copy: bytes | None = None
        self.ticks = itertools.count(time.time_ns() // 1_000_000)
        self.counted: Counter[str] = Counter()
        self.tokens: set[str] = set()  # that ClickHouse remembers
        self.acknowledged: set[str] = set()
        self.excused: set[str] = set()
        self.memory: KnownFrames
        self._open()

    def now_ms(self) -> int:
        return next(self.ticks)

    def _open(self) -> None:
        self.journal = Journal(self.path, max_identities=3, max_age_ms=1 << 40, max_aside_bytes=1 << 20)
        self.stored = StoredIdentities(self.store, 14, self.now_ms)
        for token, units in self.journal.unfinished():
            self._write(token, units, "answered")
        self.memory = open_known_frames(
            self.store, self.journal, self.stored, Metrics(), SETTINGS, self.now_ms
        )

    def _write(self, token: str, units: list[AcceptedFrame], until: Step) -> None:
        """Write a batch of the journal up to a step."""
        if token not in self.tokens and until != "begun":
            self.tokens.add(token)
            self.counted.update(u.identity for u in units)
        steps: dict[Step, Callable[[], Any]] = {
            "identities": lambda: self.stored.add(token, units),
            "finished": lambda: self.journal.finish(token, self.now_ms()),
        }
        for step in STEPS[: STEPS.index(until) + 1]:
            steps.get(step, lambda: None)()
        if until != "answered":
            raise Died

    @rule(
        numbers=st.lists(st.sampled_from([0, 1, 2, 63, 64]), min_size=1, max_size=2, unique=True),
        until=st.sampled_from([*STEPS, *["answered"] * 5]),
        fate=st.sampled_from(["kept", "lost", "older"]),
    )
    def send(self, numbers: list[int], until: Step, fate: Fate) -> None:
        """Send frames that may have been sent before; they are one batch. The process may die."""
        frames = [counter_frame({"a": 1.0}, 0, sequence=n, created_ms=self.now_ms()) for n in numbers]
        units = [AcceptedFrame(frame_identity(f, 0), unit(f).body, f) for f in frames]
        fresh = []
        for one in units:
            found = self.journal.find(one.identity)
            if found is None and not asyncio.run(self.memory.has(one)):
                fresh.append(one)
            else:
                assert found is None or found[0] is BatchState.DONE
                self.acknowledged.add(one.identity)
        if fresh:
            token = uuid.uuid4().hex
            self.journal.begin(token, fresh, self.now_ms())
            try:
                self._write(token, fresh, until)
            except Died:
                if until == "rows" and fate != "kept":
                    self.excused.update(one.identity for one in fresh)
                self._again(fate)
            else:
                self.acknowledged.update(one.identity for one in fresh)

    @rule()
    def keep_a_copy(self) -> None:
        """Keep a copy of the file, as a person's backup would."""
        with sqlite3.connect(self.path) as source, sqlite3.connect(":memory:") as target:
            source.backup(target)
            self.copy = target.serialize()

    @rule(fate=st.sampled_from(["kept", "lost", "older"]))
    def restart(self, fate: Fate) -> None:
        self._again(fate)

    def _again(self, fate: Fate) -> None:
        self.journal.close()
        if fate != "kept":
            for path in self.path.parent.glob("journal.sqlite*"):
                path.unlink()
        if fate == "older" and self.copy is not None:
            self.path.write_bytes(self.copy)
        self._open()

    @invariant()
    def counted_once(self) -> None:
        twice = {identity for identity, times in self.counted.items() if times > 1}
        assert twice <= self.excused
        assert self.acknowledged <= set(self.counted)

    def teardown(self) -> None:
        self.journal.close()


def test_no_frame_counts_twice_and_none_is_lost(store: Store, tmp_path: Path) -> None:
    class Here(Indexers):
        def __init__(self) -> None:
            super().__init__(store, tmp_path)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=15,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
