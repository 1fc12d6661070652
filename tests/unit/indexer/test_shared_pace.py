"""Indexers that share a rate know each other by the batches that they store; a restart gives nothing away."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.clickhouse.store import StoreError
from indexer.metrics import Metrics
from indexer.write.journal import Journal
from indexer.write.shared_pace import ACTIVE_S, ActiveIndexers, SharedPace
from tests.support.frames import counter_frame, unit


def test_an_indexer_is_active_while_its_batches_go_on() -> None:
    active = ActiveIndexers("ja")
    wall_ms = 1e12
    found = {"ja": ((0, 1), wall_ms), "jb": ((0, 1), wall_ms - 5_000), "jold": ((9, 9), wall_ms - 3_600_000)}
    assert active.look(found, 100.0, wall_ms) == 2  # the first look goes by the wall clock
    found["jb"] = ((0, 3), wall_ms - 9_000_000)  # later ones do not
    assert active.look(found, 110.0, wall_ms) == 2
    found["jold"] = ((9, 11), wall_ms - 3_600_000)
    assert active.look(found, 120.0, wall_ms) == 3
    found["jnew"] = ((0, 1), 0.0)
    assert active.look(found, 110.0 + ACTIVE_S, wall_ms) == 3  # jb ended
    assert active.look(found, 111.0 + 2 * ACTIVE_S, wall_ms) == 1


def test_a_new_one_assumes_that_others_start_with_it() -> None:
    active = ActiveIndexers("ja")
    assert active.look({}, 100.0, 1e12) == 3
    assert active.look({"ja": ((0, 1), 1e12)}, 105.0, 1e12) == 1


class Database:
    """A store as a pace sees it: the last batches of all indexers."""

    def __init__(self) -> None:
        self.on_insert: Any = None
        self.batches: list[tuple[str, tuple[int, int], float]] = []
        self.away = False

    def rows(self, *_: object) -> list[tuple[str, tuple[int, int], float]]:
        if self.away:
            raise StoreError("away", retryable=True)
        return self.batches


class Clock:
    """A monotonic clock."""

    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def open_journal(folder: Path) -> Journal:
    return Journal(folder / "j", max_identities=9, max_age_ms=9_999, max_aside_bytes=9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def batch(database: Database, journal: Journal, token: str) -> None:
    """Write a batch of one kind: 4 parts."""
    now_ms = time.time_ns() // 1_000_000
    journal.begin(token, [unit(counter_frame({"a": 1.0}, 0, sequence=int(token)))], now_ms)
    columns = {"bucket": np.zeros(1, np.uint32)}
    database.on_insert("incoming_counters", columns)
    journal.finish(token, now_ms)


def test_every_insert_of_the_store_is_paid_at_this_indexers_share(tmp_path: Path, clock: Clock) -> None:
    database, journal = Database(), open_journal(tmp_path)
    metrics = Metrics()
    pace = SharedPace(database, journal, 8.0, metrics, clock)  # type: ignore[arg-type]
    now_ms = float(time.time_ns() // 1_000_000)
    database.batches = [("jother", (0, 1), now_ms), (f"j{journal.name}", (0, 1), now_ms)]
    pace.begin()
    assert pace.wait_ms() == 0
    for _ in range(24):  # the first allowance
        database.on_insert("heartbeats", {})
    assert pace.wait_ms() == 0
    batch(database, journal, "1")
    assert metrics.registry.get_sample_value("meterhouse_indexer_inserted_parts_total") == 28
    assert metrics.registry.get_sample_value("meterhouse_indexer_sharing_indexers") == 2
    assert 1_000 <= pace.wait_ms() <= 1_001
    database.on_insert("heartbeats", {})
    assert 1_250 <= pace.wait_ms() <= 1_251
    database.away = True
    clock.now_s += ACTIVE_S + 1
    pace.begin()  # not known: as before
    database.on_insert("heartbeats", {})
    database.away = False
    clock.now_s += 6
    pace.begin()
    for _ in range(100):
        database.on_insert("heartbeats", {})
    assert pace.wait_ms() == 7_501  # alone, and 40 were left
    journal.close()


def test_a_restart_continues_with_the_debts(tmp_path: Path, clock: Clock) -> None:
    database, journal = Database(), open_journal(tmp_path)
    pace = SharedPace(database, journal, 0.01, Metrics(), clock)  # type: ignore[arg-type]
    pace.begin()
    batch(database, journal, "1")
    journal.close()
    again = open_journal(tmp_path)
    pace = SharedPace(Database(), again, 0.01, Metrics(), clock)  # type: ignore[arg-type]
    pace.begin()
    assert pace.wait_ms() == 8_000
    again.close()


def test_a_start_asks_for_no_other_indexers_and_has_the_debts(tmp_path: Path, clock: Clock) -> None:
    database, journal = Database(), open_journal(tmp_path)
    pace = SharedPace(database, journal, 0.01, Metrics(), clock)  # type: ignore[arg-type]
    pace.begin()
    batch(database, journal, "1")
    journal.close()
    again, metrics = open_journal(tmp_path), Metrics()
    database.batches = [("jother", (0, 1), 1e18), (f"j{again.name}", (0, 1), 1e18)]
    pace = SharedPace(database, again, 0.01, metrics, clock)  # type: ignore[arg-type]
    pace.start()
    assert pace.wait_ms() == 8_000
    assert not metrics.registry.get_sample_value("meterhouse_indexer_sharing_indexers")
    for _ in range(2):
        pace.look()  # before the first batch, and for it
        assert metrics.registry.get_sample_value("meterhouse_indexer_sharing_indexers") == 2
        database.batches = []
    pace.begin()
    assert pace.wait_ms() == 8_000
    again.close()


def test_messages_do_not_put_the_next_batch_off(tmp_path: Path, clock: Clock) -> None:
    database, journal = Database(), open_journal(tmp_path)
    pace = SharedPace(database, journal, 0.01, Metrics(), clock)  # type: ignore[arg-type]
    pace.begin()
    database.on_insert("heartbeats", {})
    for _ in range(3):
        clock.now_s += 2
        pace.begin(alone=True)
        with pace.unowed():
            database.on_insert("incoming_counters", {"bucket": np.zeros(1, np.uint32)})
    assert pace.wait_ms() == 2_000
    journal.close()


def test_without_a_rate_nothing_is_counted(tmp_path: Path) -> None:
    database, journal = Database(), open_journal(tmp_path)
    database.away = True
    pace = SharedPace(database, journal, 0.0, Metrics())  # type: ignore[arg-type]
    pace.begin()
    assert database.on_insert is None
    assert pace.wait_ms() == 0
    journal.close()
