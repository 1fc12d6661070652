"""Rows of the tables of subscriptions: the indexer writes them, the shim reads them. Sync: for threads."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from indexer.clickhouse.native_format import ColumnData
from indexer.clickhouse.schema.subscription_tables import RESULTS, SENT, SUBSCRIPTIONS
from indexer.clickhouse.sql_quoting import quote_text
from indexer.clickhouse.store import Store, StoreError
from indexer.deletion.deletion_request import DeletionBusyError
from indexer.deletion.mutations import Mutations
from indexer.subscriptions.messages_of_subscriptions import (
    SentTick,
    Subscription,
    SubscriptionWrites,
    TickResult,
)

_log: Final = logging.getLogger("indexer.subscriptions")

_COLUMNS: Final = (
    "org_id, project_id, id, dataset, entity, query, time_window_s, resolution_s, since_s, webhook"
)
#: Subscriptions of all orgs that are read at the most.
_MAX_READ: Final = 100_000
#: The greatest time that a tick may have.
_END_S: Final = 2**32 - 1

#: How far a tick may lie ahead of the indexer's clock.
SLACK_S: Final = 60
#: Seconds to wait until rows are deleted.
_DELETED_S: Final = 30.0


class TooManySubscriptionsError(ValueError):
    """An org has as many subscriptions as it may have."""


class TickAheadError(ValueError):
    """A tick has not come: the clock of the shim is ahead."""


class SubscriptionWriter:
    """Writes definitions, removals and results. Thread-safe.

    `max_per_org`: subscriptions of one org. `now_ms` is the wall clock, whose latest row wins.
    `other_clock_s`: the time of another machine; a tick that has come by it is not deleted.
    """

    def __init__(
        self,
        store: Store,
        max_per_org: int,
        now_ms: Callable[[], int],
        other_clock_s: Callable[[], int] | None = None,
    ) -> None:
        self._store = store
        self._max_per_org = max_per_org
        self._now_ms = now_ms
        self._other_clock_s = other_clock_s
        self._lock = threading.Lock()

    def __call__(self, writes: SubscriptionWrites) -> None:
        """Store a message; all of it is stored when this returns.

        Raises StoreError, TooManySubscriptionsError, TickAheadError.
        """
        now_s = self._now_ms() // 1000
        if writes.latest_s > now_s + SLACK_S:
            raise TickAheadError(
                f"results: a tick {writes.latest_s - now_s} s ahead of the indexer's clock: expected at most"
                f" {SLACK_S} s; set the clock of the shim or of this indexer right"
            )
        if writes.ahead:
            self._forget(writes.ahead, now_s)
        with self._lock:
            for one in writes.put:
                others = {s.id for s in read_subscriptions(self._store, one.org_id)} - {one.id}
                if len(others) >= self._max_per_org:
                    raise TooManySubscriptionsError(
                        f"org {one.org_id} has {len(others)} subscriptions: expected fewer than"
                        f" {self._max_per_org} (setting indexer.bounds.subscriptions)"
                    )
                self._note(one, removed=False)
            for one in writes.remove:
                self._note(one, removed=True)
        if writes.results:
            self._store.insert(RESULTS, _result_rows(writes.results, self._now_ms()))
        if writes.sent:
            self._store.insert(SENT, _tick_rows(writes.sent))

    def _forget(self, of: Sequence[SentTick], now_s: int) -> None:
        """Delete results and progress of ticks that have not come. Raises StoreError.

        A webhook had all results that are left: its progress is the last of them. It is noted before results
        are deleted, which may fail: otherwise the webhook would get all of them again.
        """
        if self._other_clock_s is not None:  # a clock that is late must not delete good results
            now_s = max(now_s, self._other_clock_s())
        found = read_ticks_ahead(self._store, of, now_s)
        of = [one for one in of if one.id in found]
        if not of:
            return
        sent, left = _last_ticks(self._store, SENT, of), _last_ticks(self._store, RESULTS, of, now_s)
        keys = ", ".join(f"({one.org_id}, {one.project_id}, {quote_text(one.id)})" for one in of)
        where = f"(org_id, project_id, id) IN ({keys}) AND tick_s > {now_s}"
        mutations = Mutations(self._store, f"ahead-{uuid.uuid4().hex}")
        again = [
            SentTick(org_id=one.org_id, project_id=one.project_id, id=one.id, tick_s=left[one.id])
            for one in of
            if sent.get(one.id, 0) > now_s and one.id in left
        ]
        try:
            mutations.begin(SENT, where)
            try:
                mutations.wait(_DELETED_S)
            finally:
                if again:
                    self._store.insert(SENT, _tick_rows(again))
            mutations.begin(RESULTS, where)
            mutations.wait(_DELETED_S)
        except DeletionBusyError as e:
            raise StoreError(f"results ahead of the clock: {e}", retryable=True, public=True) from e
        _log.warning("event=results_ahead_deleted subscriptions=%d text=a clock was ahead", len(of))

    def _note(self, one: Subscription, *, removed: bool) -> None:
        row: Mapping[str, ColumnData] = {
            "org_id": np.array([one.org_id], np.uint32),
            "project_id": np.array([one.project_id], np.uint32),
            "id": [one.id],
            "dataset": [one.dataset],
            "entity": [one.entity],
            "query": [one.query],
            "time_window_s": np.array([one.time_window_s], np.uint32),
            "resolution_s": np.array([one.resolution_s], np.uint32),
            "since_s": np.array([one.since_s], np.uint32),
            "webhook": [one.webhook],
            "removed": np.array([removed], np.uint8),
            "noted_ms": np.array([self._noted_ms(one)], np.uint64),
        }
        self._store.insert(SUBSCRIPTIONS, row)

    def _noted_ms(self, one: Subscription) -> int:
        """Return the time of a row that replaces those noted before, also by a clock that was ahead."""
        key = {"org": one.org_id, "project": one.project_id, "id": one.id}
        ((last_ms,),) = self._store.rows(
            f"SELECT max(noted_ms) FROM {SUBSCRIPTIONS} WHERE org_id = {{org:UInt32}}"
            " AND project_id = {project:UInt32} AND id = {id:String}",
            key,
        )
        return max(self._now_ms(), int(last_ms) + 1)


def open_subscription_writer(store: Store, max_per_org: int, now_ms: Callable[[], int]) -> SubscriptionWriter:
    """Return a writer; a ClickHouse server, which is usually another machine, is its other clock."""

    def server_s() -> int:
        ((told_s,),) = store.rows("SELECT toUnixTimestamp(now())")
        return int(told_s)

    return SubscriptionWriter(store, max_per_org, now_ms, None if store.embedded else server_s)


def _result_rows(results: Sequence[TickResult], now_ms: int) -> Mapping[str, ColumnData]:
    return {
        **_tick_rows(results),
        "payload": [one.payload for one in results],
        "precedence": np.full(len(results), 2**63 - now_ms, np.uint64),
    }


def _tick_rows(ticks: Sequence[TickResult | SentTick]) -> Mapping[str, ColumnData]:
    return {
        "org_id": np.array([one.org_id for one in ticks], np.uint32),
        "project_id": np.array([one.project_id for one in ticks], np.uint32),
        "id": [one.id for one in ticks],
        "tick_s": np.array([one.tick_s for one in ticks], np.uint32),
    }


def read_subscriptions(store: Store, org_id: int | None = None) -> list[Subscription]:
    """Return the subscriptions of an org, or of all; the oldest first. Raises StoreError."""
    of_org = " AND org_id = {org:UInt32}" if org_id is not None else ""
    rows = store.rows(
        f"SELECT {_COLUMNS} FROM {SUBSCRIPTIONS} FINAL WHERE removed = 0{of_org}"
        f" ORDER BY since_s, id LIMIT {_MAX_READ}",
        {"org": org_id} if org_id is not None else None,
    )
    names = _COLUMNS.split(", ")
    return [Subscription(**dict(zip(names, row, strict=True))) for row in rows]


def read_last_ticks(store: Store, of: Iterable[Subscription], until_s: int) -> Mapping[str, int]:
    """Return the last tick with a result, up to a time, by the ids of subscriptions. Raises StoreError."""
    return _last_ticks(store, RESULTS, of, until_s)


def read_sent_ticks(store: Store, of: Iterable[Subscription]) -> Mapping[str, int]:
    """Return the last tick that a webhook has, by the ids of subscriptions. Raises StoreError."""
    return _last_ticks(store, SENT, of)


def read_ticks_ahead(store: Store, of: Sequence[Subscription | SentTick], now_s: int) -> Mapping[str, int]:
    """Return the last tick that has not come and yet has a result, or is sent, by the ids of subscriptions.

    Raises StoreError.
    """
    return {**_last_ticks(store, SENT, of, after_s=now_s), **_last_ticks(store, RESULTS, of, after_s=now_s)}


def _last_ticks(
    store: Store,
    table: str,
    of: Iterable[Subscription | SentTick],
    until_s: int = _END_S,
    *,
    after_s: int = 0,
) -> Mapping[str, int]:
    projects = {one.id: (one.org_id, one.project_id) for one in of}
    rows = store.rows(
        f"SELECT org_id, project_id, id, max(tick_s) FROM {table} WHERE org_id IN {{orgs:Array(UInt32)}}"
        " AND id IN {ids:Array(String)} AND tick_s > {after:UInt32} AND tick_s <= {until:UInt32}"
        " GROUP BY org_id, project_id, id",
        {
            "orgs": sorted({org for org, _ in projects.values()}),
            "ids": list(projects),
            "after": after_s,
            "until": until_s,
        },
    )
    return {id_: int(tick_s) for *project, id_, tick_s in rows if projects[id_] == tuple(project)}


def read_results(store: Store, of: Subscription, limit: int) -> list[str]:
    """Return the last results of a subscription, as JSON, the latest first. Raises StoreError."""
    rows = store.rows(
        f"SELECT payload FROM {RESULTS} FINAL WHERE org_id = {{org:UInt32}}"
        " AND project_id = {project:UInt32} AND id = {id:String}"
        f" ORDER BY tick_s DESC LIMIT {limit:d}",
        {"org": of.org_id, "project": of.project_id, "id": of.id},
    )
    return [payload for (payload,) in rows]


def read_results_after(
    store: Store, of: Subscription, after_s: int, until_s: int, limit: int, max_ticks: int
) -> list[tuple[int, str]]:
    """Return the first results after a tick, up to a time, as (tick, JSON), of the latest ticks alone.

    Raises StoreError.
    """
    key = (
        "org_id = {org:UInt32} AND project_id = {project:UInt32} AND id = {id:String}"
        " AND tick_s <= {until:UInt32}"
    )
    return store.rows(
        f"SELECT tick_s, payload FROM {RESULTS} FINAL WHERE {key} AND tick_s > {{after:UInt32}} AND tick_s >="
        f" (SELECT min(tick_s) FROM (SELECT DISTINCT tick_s FROM {RESULTS} WHERE {key}"
        f" ORDER BY tick_s DESC LIMIT {max_ticks:d})) ORDER BY tick_s LIMIT {limit:d}",
        {"org": of.org_id, "project": of.project_id, "id": of.id, "after": after_s, "until": until_s},
    )
