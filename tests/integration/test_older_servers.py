"""Servers that refuse parts of the schema, as older versions do."""

from __future__ import annotations

from contextlib import closing

from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import open_store
from tests.support.clickhouse_http import FaultRule, FaultRules

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
