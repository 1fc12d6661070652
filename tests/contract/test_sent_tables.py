"""Tables that travel beside a statement: embedded in files, over HTTP as external data."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from indexer.clickhouse.sent_tables import as_files, as_text
from indexer.clickhouse.store import ColumnData, Ragged, SentTable, Store, StoreError, open_store
from tests.e2e.product import wait_for
from tests.support.clickhouse_http import MAX_FIELD_BYTES, MAX_QUERY_BYTES

HOSTILE = ["it's", "\\ ` {b:c} %s", "a\nb\n\nc;\n", "\0", "", "ü 🙂", "\t\r", "'); DROP TABLE x; --"]


def ids(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint64) * np.uint64(184_467_440_737) + np.uint64(1)


@pytest.mark.parametrize("count", [0, 1, 2, 100_000])
def test_rows_are_all_there(plain_store: Store, count: int) -> None:
    sent = SentTable("sent", {"id": ids(count), "place": np.arange(count, dtype=np.uint32)})
    found = plain_store.columns(
        "SELECT id, place FROM sent ORDER BY id", [("id", "<u8"), ("place", "<u4")], sent=[sent]
    )
    assert (found["id"] == ids(count)).all()
    assert (found["place"] == np.arange(count)).all()


@pytest.mark.parametrize("count", [0, 1, 100_000])
def test_arrays_keep_their_order(plain_store: Store, count: int) -> None:
    wanted = ids(count)[::-1].copy()
    sent = SentTable.of_arrays("sent", {"ids": wanted, "few": np.array([3, 1, 2], np.uint8)})
    found = plain_store.fetch("SELECT arrayJoin((SELECT ids FROM sent))", [("id", "<u8")], sent=[sent])
    assert (found["id"] == wanted).all()
    assert plain_store.rows("SELECT (SELECT few FROM sent)", sent=[sent]) == [([3, 1, 2],)]


def test_a_list_of_ids_as_a_condition(plain_store: Store) -> None:
    wanted = np.arange(0, 300_000, 3, dtype=np.uint64)
    sent = SentTable.of_arrays("sent", {"ids": wanted})
    sql = "SELECT count() FROM numbers(300000) WHERE number GLOBAL IN (SELECT arrayJoin(ids) FROM sent)"
    assert plain_store.rows(sql, sent=[sent]) == [(100_000,)]


def test_a_map_as_two_arrays(plain_store: Store) -> None:
    sent = SentTable.of_arrays("sent", {"ids": ids(5_000), "groups": np.arange(5_000, dtype=np.uint16) % 7})
    sql = (
        "SELECT transform(id, (SELECT ids FROM sent), (SELECT groups FROM sent), toUInt16(9)) AS g, count()"
        " FROM (SELECT arrayJoin((SELECT ids FROM sent)) + {off:UInt64} AS id) GROUP BY g ORDER BY g"
    )
    counted = [(g, 5_000 // 7 + (g < 5_000 % 7)) for g in range(7)]
    assert plain_store.rows(sql, {"off": 0}, sent=[sent]) == counted
    assert plain_store.rows(sql, {"off": 1}, sent=[sent]) == [(9, 5_000)]


def test_strings_of_any_kind(plain_store: Store) -> None:
    sent = SentTable("texts", {"text": HOSTILE, "n": np.arange(len(HOSTILE), dtype=np.uint8)})
    assert plain_store.rows("SELECT text, n FROM texts ORDER BY n", sent=[sent]) == [
        (text, n) for n, text in enumerate(HOSTILE)
    ]


def test_several_tables_and_parameters(plain_store: Store) -> None:
    sent = [
        SentTable("left", {"id": ids(3)}),
        SentTable("right", {"id": ids(4)[1:], "more": Ragged(np.array([1, 0, 2]), ids(3))}),
    ]
    sql = (
        "SELECT id, length(more), {text:String} FROM left GLOBAL ANY INNER JOIN right USING (id)"
        " WHERE id != {not:UInt64} ORDER BY id"
    )
    second, third = ids(3)[1:].tolist()
    found = plain_store.rows(sql, {"text": "it's %", "not": 4}, sent)
    assert found == [(second, 1, "it's %"), (third, 0, "it's %")]


def test_rows_inside_the_text(plain_store: Store) -> None:
    """For users who may send no tables: the same rows, in the same order, none among them."""
    texts = SentTable("texts", {"text": HOSTILE, "n": np.arange(len(HOSTILE), dtype=np.uint8)})
    ragged = SentTable("ragged", {"id": ids(3), "more": Ragged(np.array([1, 0, 2]), ids(3))})
    none = SentTable("none", {"id": ids(0)})
    clause = as_text([texts, ragged, none], 10_000)
    assert plain_store.rows(f"{clause} SELECT text, n FROM texts ORDER BY n") == [
        (text, n) for n, text in enumerate(HOSTILE)
    ]
    first, second, third = ids(3).tolist()
    found = plain_store.rows(f"{clause} SELECT id, more FROM ragged ORDER BY id")
    assert found == [(first, [first]), (second, []), (third, [second, third])]
    assert plain_store.rows(f"{clause} SELECT count() FROM none") == [(0,)]
    arrays = as_text(
        [SentTable.of_arrays("sent", {"ids": ids(600), "few": np.array([3, 1], np.uint8)})], 20_000
    )
    [(numbers, few)] = plain_store.rows(f"{arrays} SELECT (SELECT ids FROM sent), (SELECT few FROM sent)")
    assert numbers == ids(600).tolist()
    assert few == [3, 1]


def test_rows_inside_the_text_are_bounded() -> None:
    sent = [SentTable("sent", {"id": np.full(1_000, 7, np.uint64)})]
    size = len(as_text(sent, 10_000))
    assert size > 2_000
    assert len(as_text(sent, size)) == size
    assert as_text(sent, size - 1) == as_text(sent, 100) == ""
    different: dict[str, ColumnData] = {"a": np.zeros(1, np.uint8), "b": np.zeros(2, np.uint8)}
    with pytest.raises(ValueError, match="different lengths"):
        as_text([SentTable("sent", different)], 1_000)


def test_the_same_name_means_other_rows_each_time(plain_store: Store) -> None:
    for count in (1, 3, 2):
        sent = SentTable("sent", {"id": ids(count)})
        assert plain_store.rows("SELECT count() FROM sent", sent=[sent]) == [(count,)]
    with pytest.raises(StoreError):
        plain_store.rows("SELECT count() FROM sent")


def test_columns_of_different_lengths(plain_store: Store) -> None:
    columns: dict[str, ColumnData] = {"a": np.zeros(1, np.uint8), "b": np.zeros(2, np.uint8)}
    with pytest.raises(ValueError, match="different lengths"):
        plain_store.rows("SELECT 1", sent=[SentTable("sent", columns)])


@pytest.mark.parametrize("name", ["a b", "a`", "1a", "", "a'"])
def test_names_are_ours(plain_store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="not a name of ours"):
        plain_store.rows("SELECT 1", sent=[SentTable(name, {"a": np.zeros(1, np.uint8)})])
    with pytest.raises(ValueError, match="not a name of ours"):
        plain_store.rows("SELECT 1", sent=[SentTable("sent", {name: np.zeros(1, np.uint8)})])


def test_several_threads_each_see_their_own(plain_store: Store) -> None:
    failed: list[object] = []

    def ask(number: int) -> None:
        for count in range(number, number + 20):
            sent = SentTable("sent", {"id": np.full(count, count, np.uint64)})
            found = plain_store.rows("SELECT count(), max(id) FROM sent", sent=[sent])
            if found != [(count, count)]:
                failed.append((count, found))

    threads = [threading.Thread(target=ask, args=(1 + 100 * i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_nothing_is_left_over(plain_store: Store) -> None:
    """Neither files nor open descriptors, also after statements that fail."""
    sent = [SentTable("sent", {"id": ids(10)})]
    plain_store.rows("SELECT count() FROM sent", sent=sent)
    before = _open_files()
    for _ in range(5):
        plain_store.rows("SELECT count() FROM sent", sent=sent)
        with pytest.raises(StoreError):
            plain_store.rows("SELECT throwIf(id > 0) FROM sent", sent=sent)
        with pytest.raises(StoreError):
            plain_store.fetch("SELEKT", [("id", "<u8")], sent=sent)
    # The engine opens files of its own now and then, to merge parts of other tests.
    wait_for(lambda: _open_files() <= before, "no file is left open", 120)
    assert not list(Path(tempfile.gettempdir()).glob("meterhouse-sent-*"))


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_files_with_names_where_the_system_has_no_others(chdb_path: Path, plain_store: Store) -> None:
    with as_files([SentTable("sent", {"id": ids(1_000)})], unnamed=False) as clause:
        files = list(Path(tempfile.gettempdir()).glob("meterhouse-sent-*"))
        assert len(files) == 1
        assert files[0].stat().st_mode & 0o077 == 0
        if plain_store.embedded:
            assert plain_store.rows(f"{clause} SELECT count() FROM sent") == [(1_000,)]
    assert not list(Path(tempfile.gettempdir()).glob("meterhouse-sent-*"))


def test_a_server_refuses_long_fields_and_statements(http_dsn: str) -> None:
    """The limits that sent tables are for: our test server has those of a real one."""
    store = open_store(http_dsn, pool=1)
    store.create_database()
    with pytest.raises(StoreError) as too_long:
        store.rows("SELECT {a:String}", {"a": "x" * (MAX_FIELD_BYTES + 1)})
    assert "Field value too long" in too_long.value.detail
    with pytest.raises(StoreError) as too_long:
        store.command("SELECT 1 /*" + "x" * MAX_QUERY_BYTES + "*/")
    assert "Max query size exceeded" in too_long.value.detail
    store.close()
