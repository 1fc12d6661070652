"""Deletions in the background of ClickHouse that fail: for a cause that passes, and for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Final

import pytest

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.store import Store, StoreError, open_store
from indexer.deletion import mutations
from indexer.deletion.mutations import Mutations

TABLE: Final = "counters_60s"
WAIT_S: Final = 120


@pytest.fixture
def store(migrated_dsn: str) -> Iterator[Store]:
    """Provide a store with a row, and with room."""
    with closing(open_store(migrated_dsn, pool=4)) as opened:
        opened.command(
            f"INSERT INTO {TABLE} (org_id, timestamp, retention_days, value) VALUES (1, now(), 9999, 1)"
        )
        opened.command("CREATE TABLE room (x UInt8) ENGINE = MergeTree ORDER BY x")
        opened.command("INSERT INTO room VALUES (1)")
        yield opened


def begun(store: Store) -> Mutations:
    """Begin to delete, and take the room away."""
    found = Mutations(store, "tag")
    store.command(f"SYSTEM STOP MERGES {TABLE}")
    has_room = f"(SELECT count() FROM {store.database}.room)"
    found.begin(TABLE, f"org_id = 1 AND throwIf({has_room} = 0, 'no room') = 0")
    store.command("TRUNCATE TABLE room")
    return found


def until_it_fails(store: Store) -> None:
    store.command(f"SYSTEM START MERGES {TABLE}")
    deadline = time.monotonic() + WAIT_S
    while not store.rows(
        f"SELECT 1 FROM system.mutations WHERE database = '{store.database}' AND latest_fail_reason != ''"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def rows(store: Store) -> int:
    ((count,),) = store.rows(f"SELECT count() FROM {TABLE}")
    return int(count)


def test_a_cause_that_passes_ends_no_deletion(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ended, it would leave rows in some tables that are gone from others."""
    monkeypatch.setattr(mutations, "_FAILING_S", 10 * WAIT_S)
    deletion = begun(store)
    until_it_fails(store)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(deletion.wait)
        deadline = time.monotonic() + WAIT_S
        while "event=deletion_fails" not in caplog.text:
            assert time.monotonic() < deadline
            assert not waiting.done() or waiting.result() is None
            time.sleep(0.005)
        store.command("INSERT INTO room VALUES (1)")
        waiting.result(WAIT_S)
    assert rows(store) == 0


@pytest.mark.parametrize("for_good", [True, False])
def test_a_deletion_that_goes_on_failing_is_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch, for_good: bool
) -> None:
    """Deletions of other orgs from the same table wait for it."""
    deletion = begun(store)
    if for_good:
        store.command("DROP TABLE room SYNC")
    else:
        monkeypatch.setattr(mutations, "_FAILING_S", 0.2)
    until_it_fails(store)
    with pytest.raises(StoreError, match=f"{TABLE}: rows cannot be deleted") as raised:
        deletion.wait()
    fault = Fault.MISSING if for_good else Fault.OTHER
    assert (raised.value.fault, raised.value.retryable) == (fault, not for_good)
    Mutations(store, "next").wait_for_earlier(TABLE, WAIT_S)
    assert rows(store) == 1
