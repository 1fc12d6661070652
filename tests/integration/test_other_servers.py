"""Servers that are not as ours: they refuse a codec, and have profiles with other values."""

from __future__ import annotations

from contextlib import closing, nullcontext
from urllib.parse import quote

import numpy as np
import pytest

import meterhouse
from indexer.clickhouse.expected_settings import EXPECTED
from indexer.clickhouse.native_format import Block
from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import StoreError, open_store
from indexer.settings import Settings
from indexer.tables_ready import open_settings_store
from tests.support.clickhouse_http import PROFILED, FaultRule, FaultRules

_CODECS = """
SELECT countIf(compression_codec LIKE '%ALP%'), count() FROM system.columns
WHERE database = currentDatabase() AND table LIKE 'counters_%' AND name = 'value'
"""


def test_a_server_that_refuses_the_codec_alp_gets_plain_ones(http_dsn: str, clickhouse_port: int) -> None:
    """Its list of settings has the codec's, and yet it answers with code 36."""
    faults = FaultRules(clickhouse_port)
    refused = FaultRule(b"CODEC(ALP".hex(), 36, "BAD_ARGUMENTS")
    with closing(open_store(http_dsn, pool=1)) as store:
        try:
            faults.set(refused)
            migrate(store)
        finally:
            faults.set()
        assert store.rows(_CODECS) == [(0, 4)]


def test_an_error_after_the_first_rows_is_one(http_dsn: str, clickhouse_port: int) -> None:
    """A statement ON CLUSTER answers for each node as it is done; one that fails may be the second."""
    faults = FaultRules(clickhouse_port)
    with closing(open_store(http_dsn, pool=1)) as store:
        try:
            faults.set(FaultRule(b"ALTER TABLE late".hex(), 60, "UNKNOWN_TABLE", "late"))
            with pytest.raises(StoreError, match="code 60"):
                store.command("ALTER TABLE late ON CLUSTER c MODIFY TTL day")
            with pytest.raises(StoreError, match="code 60"):
                store.rows("SELECT 1 /* ALTER TABLE late */")
        finally:
            faults.set()


#: Settings that keep a client from connecting: the list of settings itself is cut short, or not read.
_LEFT_OUT = {
    *("limit", "offset", "additional_result_filter", "additional_table_filters"),
    "output_format_native_encode_types_in_binary_format",
    "use_query_cache",  # with overflow modes
}
_OTHER = {"0": "1", "1": "0", "throw": "break", "ALL": "ANY", "enable": "disable", "deny": "local"}
_HOSTILE = {
    **{name: _OTHER.get(values[0], "") for name, values in EXPECTED.items() if name not in _LEFT_OUT},
    "session_timezone": "Asia/Tokyo",
    "count_distinct_implementation": "uniq",
}


def test_a_profile_with_every_other_value_changes_nothing(
    migrated_http_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither rows that are written, repeated and read back, nor a sum that the profile would cut."""
    assert all(_HOSTILE.values())
    profile = ",".join(f"{name}={value}" for name, value in _HOSTILE.items())
    dsn = migrated_http_dsn.replace("//", f"//{PROFILED}:{quote(profile, safe='')}@")
    assert meterhouse.main(["doctor", "--write", "--dsn", dsn]) == 0, capsys.readouterr()
    assert "session_timezone = Asia/Tokyo (expected " in capsys.readouterr().out
    sql = "SELECT count(), toString(toDateTime(0)) FROM numbers(9) WHERE number IN (SELECT * FROM numbers(4))"
    with closing(open_store(dsn, pool=1)) as hostile, closing(open_store(migrated_http_dsn, pool=1)) as plain:
        assert hostile.rows(sql) == plain.rows(sql) == [(4, "1970-01-01 00:00:00")]


def test_a_quorum_goes_with_every_insert(migrated_http_dsn: str) -> None:
    """That of the indexer's settings; one that no server takes shows that it is sent."""
    rows: Block = {"org_id": np.ones(1, np.uint32), "id": np.ones(1, np.uint64), "string": ["x"]}
    for of_indexer, passes in (("auto", True), ("many", False)):
        settings = Settings(dsn=migrated_http_dsn, insert_quorum=of_indexer)
        refused = nullcontext() if passes else pytest.raises(StoreError)
        with closing(open_settings_store(settings)) as store, refused:
            store.insert("strings", rows)


def test_inserts_into_distributed_tables_wait_whatever_the_profile_says(migrated_http_dsn: str) -> None:
    """A row of `schema_migrations` on a cluster is stored when its INSERT is answered, as all others."""
    profile = quote("distributed_foreground_insert=0", safe="")
    with closing(open_store(migrated_http_dsn.replace("//", f"//{PROFILED}:{profile}@"), pool=1)) as store:
        sql = "SELECT value FROM system.settings WHERE name = 'distributed_foreground_insert'"
        assert store.rows(sql) == [("1",)]
