"""Contract of every store: chdb in the process, and a server over HTTP."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from agent.wire.frame import Frame
from indexer.clickhouse.native_format import ColumnData, Ragged
from indexer.clickhouse.schema import GRANULARITIES, Retention, migrate
from indexer.clickhouse.schema.migrate import MIGRATIONS
from indexer.clickhouse.store import Store, StoreError, open_store
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.frame_to_columns import KEEP, kept_columns
from indexer.write.stored_identities import StoredIdentities
from tests.support.frames import TEN_YEARS

NOW_S = int(time.time()) // 86_400 * 86_400


def counters(values: list[float], bucket: int = NOW_S) -> dict[str, ColumnData]:
    n = len(values)
    return {
        "org_id": np.full(n, 1, "u4"),
        "project_id": np.full(n, 1, "u4"),
        "metric_id": np.full(n, 5, "u8"),
        "series_id": np.arange(1, n + 1, dtype="u8"),
        "bucket": np.full(n, bucket, "u4"),
        **kept_columns(n, KEEP, TEN_YEARS),
        "value": np.array(values),
    }


def frame_of(identity: str) -> AcceptedFrame:
    return AcceptedFrame(identity, b"", Frame(agent="a", epoch=0, sequence=0, created_ms=0))


def totals(store: Store) -> list[float]:
    return [
        store.rows(f"SELECT sum(value) FROM counters_{g.name}")[0][0] for g in GRANULARITIES
    ]  # fmt: skip


def test_fetch_gives_records(plain_store: Store) -> None:
    got = plain_store.fetch(
        "SELECT toUInt32(number), number / 2 FROM numbers({n:UInt64})", [("a", "<u4"), ("b", "<f8")], {"n": 3}
    )
    assert got["a"].tolist() == [0, 1, 2]
    assert got["b"].tolist() == [0, 0.5, 1]


def test_columns_come_by_name(plain_store: Store) -> None:
    sql = (
        "SELECT number AS n, toUInt32(7) AS c, number / 2 AS v FROM numbers(300000)"
        " WHERE number >= {n:UInt64}"
    )
    got = plain_store.columns(sql, [("n", "<u8"), ("c", "<u4"), ("v", "<f8")], {"n": 5})
    order = np.argsort(got["n"])
    assert (got["n"][order] == np.arange(5, 300_000)).all()
    assert (got["v"][order] == np.arange(5, 300_000) / 2).all()
    assert (got["c"] == 7).all()
    assert len(got["c"]) == len(got["n"])


def test_columns_of_nothing(plain_store: Store) -> None:
    got = plain_store.columns("SELECT toUInt32(1) AS a WHERE 0", [("a", "<u4")])
    assert got["a"].dtype == np.dtype("<u4")
    assert len(got["a"]) == 0


def test_columns_of_sums_are_plain_numbers(any_store: Store) -> None:
    migrate(any_store)
    any_store.insert("incoming_counters", counters([1.5, 2.5]))
    got = any_store.columns(
        "SELECT series_id, value FROM counters_10s", [("series_id", "<u8"), ("value", "<f8")]
    )
    assert dict(zip(got["series_id"].tolist(), got["value"].tolist(), strict=True)) == {1: 1.5, 2: 2.5}


def test_fetch_of_nothing(plain_store: Store) -> None:
    assert len(plain_store.fetch("SELECT toUInt32(1) WHERE 0", [("a", "<u4")])) == 0


def test_fetch_of_many_rows(plain_store: Store) -> None:
    got = plain_store.fetch("SELECT number FROM numbers(300000)", [("n", "<u8")])["n"]
    assert (np.sort(got) == np.arange(300_000)).all()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("String", "it's \\ `a` {b:c} % \n\t ü 🙂"),
        ("String", ""),
        ("UInt64", 2**64 - 1),
        ("Array(UInt64)", [1, 2**63]),
        ("Array(String)", ["a'b", "c,d", "\\"]),
        ("Float64", 0.1),
    ],
)
def test_parameters_are_bound_by_the_server(plain_store: Store, kind: str, value: object) -> None:
    assert plain_store.rows(f"SELECT {{v:{kind}}}", {"v": value}) == [(value,)]


def test_percent_sign_without_parameters(plain_store: Store) -> None:
    assert plain_store.rows("SELECT '100%s' LIKE '100%', 7 % 4") == [(1, 3)]


def test_long_parameters(plain_store: Store) -> None:
    ids = list(range(1, 10**9, 10**5))
    assert plain_store.rows("SELECT length({ids:Array(UInt64)})", {"ids": ids}) == [(len(ids),)]


def test_insert_of_many_rows(any_store: Store) -> None:
    """Their bytes hold the ends of a statement's data, as they are in its text: `\\n\\n`, `;\\n`."""
    rows = 50_000
    block = counters([1.0] * rows) | {"series_id": np.arange(rows, dtype=np.uint64) * np.uint64(0x0A0A3B0A)}
    any_store.insert("incoming_counters", block, token="many")
    assert any_store.rows("SELECT count(), sum(value) FROM counters_10s") == [(rows, float(rows))]


def test_insert_takes_every_column_type(any_store: Store) -> None:
    any_store.command(
        "CREATE TABLE t (a UInt8, b UInt16, c UInt32, d UInt64, e Int8, f Int32, g Int64, h Float64,"
        " s String, r Array(UInt64), x DateTime('UTC'), y Date, z Enum8('one' = 1))"
        " ENGINE = MergeTree ORDER BY d"
    )
    columns: dict[str, ColumnData] = {
        "a": np.array([255, 1], "u1"),
        "b": np.array([65_535, 1], "u2"),
        "c": np.array([2**32 - 1, 1], "u4"),
        "d": np.array([1, 2**64 - 1], "u8"),
        "e": np.array([-128, 1], "i1"),
        "f": np.array([-(2**31), 1], "i4"),
        "g": np.array([-(2**63), 1], "i8"),
        "h": np.array([-0.5, np.inf]),
        "s": ["ü" * 100, ""],
        "r": Ragged(np.array([0, 2]), np.array([7, 2**64 - 1], "u8")),
        "x": np.array([0, 60], "u4"),
        "y": np.array([0, 1], "u2"),
        "z": np.array([1, 1], "i1"),
    }
    any_store.insert("t", columns)
    got = any_store.rows(
        "SELECT a, b, c, d, e, f, g, h, s, r, toUnixTimestamp(x), toUInt16(y), z FROM t ORDER BY d"
    )
    assert got[0] == (255, 65_535, 2**32 - 1, 1, -128, -(2**31), -(2**63), -0.5, "ü" * 100, [], 0, 0, "one")
    assert got[1] == (1, 1, 1, 2**64 - 1, 1, 1, 1, np.inf, "", [7, 2**64 - 1], 60, 1, "one")


def test_insert_of_no_rows(any_store: Store) -> None:
    any_store.insert("incoming_counters", counters([]), token="empty")
    assert totals(any_store) == [0] * 4


def test_insert_repeated_with_its_token_changes_nothing(any_store: Store) -> None:
    for token in ("a", "a", "b"):
        any_store.insert("incoming_counters", counters([1, 2]), token=token)
    assert totals(any_store) == [6] * 4


def test_rows_that_are_not_folded_are_written_as_they_are(any_store: Store) -> None:
    block = counters([1, 2, 3])
    block["series_id"] = np.array([7, 7, 8], "u8")
    for _ in range(2):
        any_store.insert("incoming_counters", block, token="as they are", fold=False)
    assert totals(any_store) == [6] * 4
    for granularity in GRANULARITIES:
        assert any_store.rows(
            f"SELECT series_id, sum(value) FROM counters_{granularity.name} GROUP BY series_id ORDER BY 1"
        ) == [(7, 3.0), (8, 3.0)]
    any_store.insert("incoming_counters", block, token="folded")
    assert totals(any_store) == [12] * 4


def test_insert_over_many_partitions_repeated(any_store: Store) -> None:
    block = counters([1.0] * 150)
    block["bucket"] = (NOW_S - np.arange(150) * 86_400).astype("u4")
    for _ in range(2):
        any_store.insert("incoming_counters", block, token="days")
    assert totals(any_store) == [150] * 4


def test_same_token_at_the_same_time_lands_once(any_store: Store) -> None:
    errors: list[StoreError] = []

    def insert() -> None:
        try:
            any_store.insert("incoming_counters", counters([1, 2, 3]), token="together")
        except StoreError as e:
            errors.append(e)

    threads = [threading.Thread(target=insert) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert totals(any_store) == [6] * 4


def test_no_insert_is_queued_by_the_server(http_store_dsn: str) -> None:
    """Whatever a profile says: servers refuse or double async inserts with our views and tokens."""
    store = open_store(http_store_dsn.replace("//", "//profiled:async_insert=1@"), pool=1)
    try:
        for token in ("x", "y", "x"):
            store.insert("incoming_counters", counters([2]), token=token)
        assert totals(store) == [4] * 4
        with pytest.raises(StoreError, match="344"):
            store.command("INSERT INTO strings (id) SELECT 1")
    finally:
        store.close()


def test_readers_at_the_same_time(plain_store: Store) -> None:
    results: list[int] = []

    def read(n: int) -> None:
        results.extend(int(plain_store.rows("SELECT {n:UInt64}", {"n": n})[0][0]) for _ in range(20))

    threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results) == sorted(list(range(8)) * 20)


@pytest.mark.parametrize(
    ("sql", "code"),
    [("SELECT nothing_of_that_name", 47), ("SELECT 1 FROM no_such_table", 60), ("SELEKT", 62)],
)
def test_hopeless_statements(plain_store: Store, sql: str, code: int) -> None:
    with pytest.raises(StoreError) as e:
        plain_store.rows(sql)
    assert not e.value.retryable
    assert e.value.code == code


def test_errors_that_may_pass_are_retryable(plain_store: Store) -> None:
    with pytest.raises(StoreError) as e:
        plain_store.rows(
            "SELECT throwIf(1, 'as if out of memory', 241::Int16)"
            " SETTINGS allow_custom_error_code_in_throwif = 1"
        )
    assert e.value.retryable
    assert e.value.code == 241


def test_a_client_is_usable_after_an_error(plain_store: Store) -> None:
    for _ in range(10):
        with pytest.raises(StoreError):
            plain_store.command("SELEKT")
    assert plain_store.rows("SELECT 1") == [(1,)]


def test_migrating_again_changes_nothing(any_store: Store) -> None:
    any_store.insert("incoming_counters", counters([1]))
    tables = any_store.rows(
        "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
    )
    assert migrate(any_store) == migrate(any_store)
    again = any_store.rows(
        "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
    )
    assert sorted(again) == sorted(tables)
    assert totals(any_store) == [1] * 4


def test_two_indexers_migrate_at_the_same_time(any_dsn: str) -> None:
    stores = [open_store(any_dsn, pool=1) for _ in range(3)]
    errors: list[Exception] = []

    def run(store: Store) -> None:
        try:
            migrate(store, Retention())
        except StoreError as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(s,)) for s in stores]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    stores[0].insert("incoming_counters", counters([1]))
    assert totals(stores[0]) == [1] * 4
    applied = stores[0].rows("SELECT count(DISTINCT version) FROM schema_migrations WHERE version > 0")
    assert applied == [(len(MIGRATIONS),)]
    for s in stores:
        s.close()


def test_the_sum_of_the_seed_in_sql(any_store: Store) -> None:
    """The statement is the seed's, word for word; each value counts once, whatever rollups it is in."""
    any_store.insert("incoming_counters", counters([1, 2.5]))
    any_store.insert("incoming_counters", counters([4], bucket=NOW_S + 10))
    of_the_seed = """SELECT
  metric_id,
  sumMerge(value) as total
FROM metrics_counters_v2_local
GROUP BY metric_id"""
    assert any_store.rows(of_the_seed) == [(5, 7.5)]
    by_bucket = (
        "SELECT bucketed_time, sumMerge(value) FROM metrics_counters_v2_local"
        " WHERE granularity = 10 GROUP BY bucketed_time ORDER BY bucketed_time"
    )
    assert [n for _, n in any_store.rows(by_bucket)] == [3.5, 4.0]


def test_the_commit_log_shows_frames_of_agents_by_their_numbers(any_store: Store) -> None:
    stored = StoredIdentities(any_store, 14, lambda: NOW_S * 1000)
    for token, numbers in (("a", (3, 4, 70)), ("b", (4, 5)), ("b", (4, 5))):
        frames = [frame_of(f"1:2/host/a/77/{number}") for number in numbers]
        stored.add(token, [*frames, frame_of("1:2/host/a/77/9/days-3"), frame_of("messages/1:1/k/0/1")])
    sql = "SELECT source, stream, partition, first, last, messages, rows FROM commit_log ORDER BY first"
    assert any_store.rows(sql) == [
        ("agent", "1:2/host/a", 77, "3", "5", 3, None),
        ("agent", "1:2/host/a", 77, "70", "70", 1, None),
    ]


def test_each_rollup_keeps_a_row_as_long_as_it_says(any_store: Store) -> None:
    block = counters([1], bucket=int(time.time()) // 60 * 60)  # of today also if this run began yesterday
    block |= kept_columns(1, 3, Retention(days_10s=1, days_60s=2, days_1h=3, days_1d=4))
    any_store.insert("incoming_counters", block)
    got = [any_store.rows(f"SELECT retention_days FROM counters_{g.name}") for g in GRANULARITIES]
    assert got == [[(1,)], [(2,)], [(3,)], [(3,)]]


def test_a_changed_retention_alters_no_view_and_forgets_no_token(any_store: Store) -> None:
    views = "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name LIKE"
    before = any_store.rows(f"{views} '%_view' ORDER BY name")
    any_store.insert("incoming_counters", counters([1]), token="kept")
    migrate(any_store, Retention(days_10s=1, days_60s=2, days_1h=3, days_1d=4))
    any_store.insert("incoming_counters", counters([1]), token="kept")
    assert totals(any_store) == [1] * 4
    assert any_store.rows(f"{views} '%_view' ORDER BY name") == before


def test_closing_twice_and_use_after(any_dsn: str) -> None:
    store = open_store(any_dsn, pool=2)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.rows("SELECT 1")


@pytest.mark.parametrize("dsn", ["", "chdb://", "chdb:///", "ftp://host/", "http://", "chdb:///x?colour=red"])
def test_what_is_no_dsn(dsn: str) -> None:
    with pytest.raises(StoreError) as e:
        open_store(dsn)
    assert not e.value.retryable


def test_nobody_listens() -> None:
    with pytest.raises(StoreError) as e:
        open_store("http://127.0.0.1:1/db", pool=1)
    assert e.value.retryable
