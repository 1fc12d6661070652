"""The self-test of `meterhouse doctor --write`: rows of a reserved tenant, written twice and read back.

It finds out by trying whether a server stores each INSERT once: repeated, and cut off by a kill and repeated.
It writes as the indexer does, into every kind, rollup and shard, and removes the rows at its end. Those of a
run that was killed expire after two days.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Final, TypeVar

import numpy as np

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.native_format import Block, Ragged
from indexer.clickhouse.schema.metric_types import BY_KIND, KINDS, METRIC_TYPES, Kind
from indexer.clickhouse.schema.tables import DEDUPLICATION_WINDOW, INPUT
from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store import Store, StoreError
from indexer.diagnosis.check import DoctorCheck, Judgement, failed, passed, skipped
from indexer.diagnosis.cut_insert import insert_and_die
from indexer.diagnosis.examination import Examined

T = TypeVar("T")

#: Organisation and project of the rows: no tenant may have it.
RESERVED: Final = 0xFFFF_FFFF
#: Series of each kind, with consecutive ids, so that every shard gets some.
SERIES: Final = 256
_DAYS: Final = 2
#: Amounts that tell once from twice, by kind; members of sets merge, and so their rows are counted.
_AMOUNTS: Final[Mapping[Kind, str]] = {
    "counters": "sum(value)",
    "gauges": "sum(count)",
    "distributions": "sum(count)",
    "sets": "count()",
}
_STRING: Final = "meterhouse doctor"
_CATALOG: Final = ("series", "strings", "metric_tag_keys", "metric_tag_values")
#: Seconds that rows may take to a replica, and deletions to their end.
_SEEN_S: Final = 15.0
_REMOVED_S: Final = 60.0
_PAUSE_S: Final = 0.1
#: Seconds after which a replica would have rows that were stored twice.
_REPLICA_S: Final = 2.0

_RIGHTS: Final = (
    "Read the checks of tables and rights above: the indexer's user must write and read all tables."
)
_SHARDS: Final = "See the weights in <remote_servers>: a shard without rows is not used, or does not answer."
_REMOVE: Final = f"ALTER TABLE each one DELETE WHERE org_id = {RESERVED}; rollups expire after {_DAYS} days."


class SelfTest:
    """One self-test. `opening` opens the store of `dsn`, on a cluster with its name."""

    def __init__(self, dsn: str, cluster: str | None, opening: Callable[[], Store]) -> None:
        self._dsn = dsn
        self._cluster = cluster
        self._opening = opening
        self._seen_s = _SEEN_S if cluster else 0.0  # one node has its rows at once
        self._token = f"doctor-{time.time_ns():x}"
        bucket = int(time.time()) // 10 * 10
        self._blocks = {kind: _block(kind, bucket) for kind in KINDS}
        name = "replicated_deduplication_window" if cluster else "non_replicated_deduplication_window"
        self._advice = (
            f"Frames that are sent again would count twice: for each table that is named, ALTER TABLE it"
            f" MODIFY SETTING {name} = {DEDUPLICATION_WINDOW} (`meterhouse schema` shows all). If it has"
            " that value, this version of ClickHouse cannot be used."
        )

    def run(self) -> Iterator[Examined]:
        """Yield the result of each step; the last one removes the rows. Raises StoreError if none answers."""
        try:
            with closing(self._opening()) as store:
                yield _examined("write: catalog", _RIGHTS, lambda: self._catalog(store))
                yield from (self._kind(store, kind) for kind in KINDS)
                yield _examined("write: shards", _SHARDS, lambda: self._shards(store))
                embedded = store.embedded
            yield _examined("write: interrupted", self._advice, lambda: self._interrupted(embedded))
        finally:
            with closing(self._opening()) as store:
                removed = _examined("write: removed", _REMOVE, lambda: self._removed(store))
        yield removed

    def _catalog(self, store: Store) -> Judgement:
        """Write series and a string, and read them and their tags back."""
        today = int(time.time()) // 86_400
        store.insert("strings", {**_column("org_id", 1), "id": np.ones(1, np.uint64), "string": [_STRING]})
        ids = np.ones(SERIES, np.uint64)
        ragged = Ragged(np.ones(SERIES, np.int64), ids)
        seen = np.full(SERIES, today * 86_400, np.uint32)
        store.insert(
            "series",
            {
                **_column("org_id", SERIES),
                **_column("project_id", SERIES),
                "metric_id": ids,
                "series_id": np.arange(1, SERIES + 1, dtype=np.uint64),
                "type": np.full(SERIES, METRIC_TYPES[0].number, np.int8),
                "tag_keys": ragged,
                "tag_values": ragged,
                "day": np.full(SERIES, today, np.uint16),
                "first_seen": seen,
                "last_seen": seen,
            },
        )
        found = _until(
            lambda: {table: self._count(store, table) for table in _CATALOG},
            lambda f: all(f.values()),
            self._seen_s,
        )
        missing = [table for table, count in found.items() if not count]
        if missing:
            return failed(f"written, and not to be read in {', '.join(missing)}")
        return passed("strings, series and tags can be read")

    def _kind(self, store: Store, kind: Kind) -> Examined:
        return _examined(f"write: {kind}", self._advice, lambda: self._twice(store, kind))

    def _twice(self, store: Store, kind: Kind) -> Judgement:
        """Insert a block twice under one token."""
        self._insert(store, kind, "once")
        if wrong := self._wrong(store, kind, 1):
            return failed(f"not as written: {wrong}")
        self._insert(store, kind, "once")
        if wrong := self._wrong(store, kind, 1, again=True):
            return failed(f"repeated INSERTs count twice: {wrong}")
        return passed(f"{SERIES} series in {len(GRANULARITIES)} rollups, a repeated INSERT once")

    def _shards(self, store: Store) -> Judgement:
        if self._cluster is None:
            return skipped("not a cluster")
        ((shards,),) = store.rows(
            "SELECT count(DISTINCT shard_num) FROM system.clusters WHERE cluster = {cluster:String}",
            {"cluster": self._cluster},
        )
        ((used,),) = store.rows(
            f"SELECT count(DISTINCT _shard_num) FROM counters_10s WHERE org_id = {RESERVED}"
        )
        return passed(f"{used} have rows") if used == shards else failed(f"{used} of {shards} have rows")

    def _interrupted(self, embedded: bool) -> Judgement:
        """Cut INSERTs off and repeat them; embedded data was closed, and the former ones are repeated."""
        token, times = ("once", 1) if embedded else ("cut", 2)
        if not embedded:
            blocks = [(f"{INPUT}_{k}", b, f"{self._token}/{token}/{k}") for k, b in self._blocks.items()]
            insert_and_die(self._dsn, self._cluster, blocks)
        with closing(self._opening()) as store:
            for kind in KINDS:
                self._insert(store, kind, token)
            wrong = [text for kind in KINDS if (text := self._wrong(store, kind, times, again=True))]
        how = "data closed and opened" if embedded else "sender killed"
        if wrong:
            return failed(f"{how}, repeated INSERTs count twice: {', '.join(wrong)}")
        return passed(f"{how}, a repeated INSERT once")

    def _removed(self, store: Store) -> Judgement:
        """Delete all rows of the tenant, and wait until they are gone."""
        tables = [*_CATALOG, *(f"{kind}_{g.name}" for kind in KINDS for g in GRANULARITIES)]
        ending, where, settings = "", "", {}
        if self._cluster is not None:
            ending, where = "_local", f" ON CLUSTER {quote_name(self._cluster)}"
            settings = {
                "distributed_ddl_task_timeout": 30,
                "distributed_ddl_output_mode": "null_status_on_timeout",
            }
        for table in tables:
            name = f"{quote_name(store.database)}.{quote_name(table + ending)}"
            store.command(f"ALTER TABLE {name}{where} DELETE WHERE org_id = {RESERVED}", settings=settings)
        left = _until(
            lambda: [table for table in tables if self._count(store, table)],
            lambda found: not found,
            _REMOVED_S,
        )
        return failed(f"rows are left in {', '.join(left)}") if left else passed("no rows are left")

    def _insert(self, store: Store, kind: Kind, token: str) -> None:
        store.insert(f"{INPUT}_{kind}", self._blocks[kind], token=f"{self._token}/{token}/{kind}")

    def _wrong(self, store: Store, kind: Kind, times: int, *, again: bool = False) -> str:
        """Return the rollups that do not have `times` blocks; `again`: others of them may come late."""
        if again and self._cluster is not None:
            time.sleep(_REPLICA_S)
        wanted = times * SERIES
        enough = SERIES if kind == "sets" else wanted  # rows of sets may have merged

        def amounts() -> dict[str, int]:
            return {g.name: self._amount(store, kind, g.name) for g in GRANULARITIES}

        found = _until(amounts, lambda all_of: min(all_of.values()) >= enough, self._seen_s)
        wrong = {name: amount for name, amount in found.items() if not enough <= amount <= wanted}
        return ", ".join(f"{kind}_{name} ({amount} for {wanted})" for name, amount in wrong.items())

    def _amount(self, store: Store, kind: Kind, granularity: str) -> int:
        table = f"{kind}_{granularity}"
        ((amount,),) = store.rows(f"SELECT toInt64({_AMOUNTS[kind]}) FROM {table} WHERE org_id = {RESERVED}")
        return int(amount)

    def _count(self, store: Store, table: str) -> int:
        ((count,),) = store.rows(f"SELECT count() FROM {table} WHERE org_id = {RESERVED}")
        return int(count)


def _block(kind: Kind, bucket: int) -> Block:
    """Return a row of each series of a kind, with ones as values."""
    found: Block = {
        **_column("org_id", SERIES),
        **_column("project_id", SERIES),
        "metric_id": np.ones(SERIES, np.uint64),
        "series_id": np.arange(1, SERIES + 1, dtype=np.uint64),
        "bucket": np.full(SERIES, bucket, np.uint32),
        **{f"days_{g.name}": np.full(SERIES, _DAYS, np.uint16) for g in GRANULARITIES},
    }
    for column in BY_KIND[kind].input:
        values = np.ones(SERIES, column.dtype)
        is_array = column.type.startswith("Array")
        found[column.name] = Ragged(np.ones(SERIES, np.int64), values) if is_array else values
    return found


def _column(name: str, rows: int) -> Block:
    return {name: np.full(rows, RESERVED, np.uint32)}


def _until(look: Callable[[], T], done: Callable[[T], bool], wait_s: float) -> T:
    """Return the last look: the first that is `done`, or that of the deadline."""
    deadline_s = time.monotonic() + wait_s
    while not done(found := look()) and time.monotonic() < deadline_s:
        time.sleep(_PAUSE_S)
    return found


def _examined(name: str, advice: str, judge: Callable[[], Judgement]) -> Examined:
    """Return the result of a step; an error of ClickHouse fails it."""
    check = DoctorCheck(name, "", lambda _, __: skipped("not a statement"), advice)
    try:
        return Examined(check, judge())
    except StoreError as e:
        return Examined(check, failed(str(e)))
