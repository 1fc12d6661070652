"""Deletions of several orgs at once: only the step in the catalog is taken in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Final

import pytest

from indexer.clickhouse.store import Store, open_store
from indexer.deletion.deleter import Deleter, DeletionParts
from indexer.deletion.deletion_request import DeletionRequest, MetricSeries, TooManyDeletionsError
from indexer.deletion.ids_tables import IdsTables
from indexer.deletion.running_deletions import Step
from indexer.write.write_gate import WriteGate
from tests.support.frames import TEN_YEARS

WAIT_S: Final = 120


@pytest.fixture
def store(migrated_dsn: str) -> Iterator[Store]:
    with closing(open_store(migrated_dsn, pool=4)) as opened:
        yield opened


def of(org_id: int) -> DeletionRequest:
    return DeletionRequest(org_id, [MetricSeries(1, "counters", 7)])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


@contextmanager
def released(*events: threading.Event) -> Iterator[None]:
    """Let threads go on, also after a failure."""
    try:
        yield
    finally:
        for event in events:
            event.set()


def test_an_org_in_the_catalog_lets_others_delete_samples_and_write(store: Store) -> None:
    gate, busy, go_on = WriteGate(), threading.Event(), threading.Event()

    def renew() -> None:
        if gate.closed == {1}:
            busy.set()
            assert go_on.wait(WAIT_S)

    deleter = Deleter(store, TEN_YEARS, DeletionParts(gate, None, renew, alone=True))
    with ThreadPoolExecutor(2) as threads, released(go_on):
        first = threads.submit(deleter.delete, of(1))
        assert busy.wait(WAIT_S)
        second = threads.submit(deleter.delete, of(2))
        until(lambda: Step.WAITS in [one.step for one in deleter.running()])
        assert [(one.org_id, one.step) for one in deleter.running()] == [(1, Step.CATALOG), (2, Step.WAITS)]
        assert gate.closed == {1}
        with pytest.raises(TooManyDeletionsError, match="org 1: another deletion"):
            deleter.delete(of(1))
        go_on.set()
        assert first.result(WAIT_S).series == second.result(WAIT_S).series == 0
    assert deleter.running() == []


def left(store: Store) -> int:
    """Return the number of tables of ids."""
    ((count,),) = store.rows(
        "SELECT count() FROM system.tables WHERE database = currentDatabase()"
        " AND startsWith(name, 'deletion_')"
    )
    return int(count)


def test_a_table_of_ids_stays_while_it_is_used(store: Store) -> None:
    """Another deletion drops those that failed ones have left."""
    tables = IdsTables(store)
    with tables.table(of(1).metrics) as name:
        tables.drop_old()
        assert store.rows(f"SELECT count() FROM {name}") == [(1,)]
    assert left(store) == 0
    with pytest.raises(ZeroDivisionError), tables.table(of(1).metrics):
        raise ZeroDivisionError
    assert left(store) == 1
    tables.drop_old()
    assert left(store) == 0


def test_another_indexer_drops_no_table_of_ids_that_is_used(migrated_http_dsn: str) -> None:
    """ClickHouse does not tell that yet while the table is being filled, or between two mutations."""
    dsn = migrated_http_dsn
    with closing(open_store(dsn)) as ours, closing(open_store(dsn)) as theirs:
        with IdsTables(ours).table(of(1).metrics) as name:
            IdsTables(theirs).drop_old()
            assert ours.rows(f"SELECT count() FROM {name}") == [(1,)]
        with pytest.raises(ZeroDivisionError), IdsTables(ours).table(of(1).metrics):
            raise ZeroDivisionError
        IdsTables(theirs).drop_old()
        assert left(theirs) == 1
        IdsTables(theirs, max_use_s=-1).drop_old()
        assert left(theirs) == 0
