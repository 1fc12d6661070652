"""The deadline of a statement that cannot carry one itself."""

from __future__ import annotations

import threading

import pytest

from indexer.clickhouse.client_pool import ClientPool
from indexer.clickhouse.store import Store, StoreError
from shim.model.errors import TimedOut
from shim.read.statement_deadline import ended_after

KILLED = StoreError("it was killed", retryable=True, code=394)


class Killing(Store):
    """A store without a server that notes the tags it has to end; the first time it fails."""

    def __init__(self, *, takes_settings: bool) -> None:
        super().__init__(ClientPool([], "x"), "x", None, embedded=False)
        self._takes = takes_settings
        self.tags: list[str] = []
        self.twice = threading.Event()

    @property
    def takes_settings(self) -> bool:
        return self._takes

    def kill(self, tag: str) -> None:
        self.tags.append(tag)
        if len(self.tags) == 1:
            raise StoreError("no answer", retryable=True)
        self.twice.set()


def _run_until_killed(store: Killing) -> None:
    store.twice.wait(120)
    raise KILLED


def test_a_statement_is_ended_until_it_ends() -> None:
    store = Killing(takes_settings=False)
    with pytest.raises(TimedOut), ended_after(store, "tag", 0.0):
        _run_until_killed(store)
    assert store.twice.is_set()
    assert set(store.tags) == {"tag"}


def test_an_error_before_the_deadline_is_its_own() -> None:
    store = Killing(takes_settings=False)
    with pytest.raises(StoreError), ended_after(store, "tag", 3_600.0):
        raise KILLED
    assert store.tags == []


def test_a_store_that_takes_settings_ends_statements_itself() -> None:
    store = Killing(takes_settings=True)
    with pytest.raises(StoreError), ended_after(store, "tag", 0.0):
        raise KILLED
    assert store.tags == []
