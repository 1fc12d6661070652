"""Contract of the table of bits: in memory, embedded and over HTTP."""

from __future__ import annotations

import time

import pytest

from indexer.clickhouse.store import open_store
from indexer.write.frame_claims import BitTable
from indexer.write.stored_identities import StoredIdentities
from tests.support.bit_table import MemoryBits


@pytest.mark.parametrize("kind", ["memory", "store_dsn", "http_store_dsn"])
def test_bits_add_up(kind: str, request: pytest.FixtureRequest) -> None:
    store = None if kind == "memory" else open_store(request.getfixturevalue(kind), pool=1)
    table: BitTable = (
        MemoryBits() if store is None else StoredIdentities(store, 14, lambda: time.time_ns() // 1_000_000)
    )
    try:
        assert not table.has_between("c1", "c:")
        table.write("t1", {("c0/fweb 'x'", 3): 1, ("c1/fweb", 3): 1 << 63})
        table.write("t2", {("c0/fweb 'x'", 3): 4, ("c0/fweb 'x'", 4): 1})
        assert table.read({"c0/fweb 'x'", "c1/fweb", "none"}, 3, 3) == {
            ("c0/fweb 'x'", 3): 5,
            ("c1/fweb", 3): 1 << 63,
        }
        assert table.has_between("c1", "c:")
        assert not table.has_between("c2", "c:")
        table.write("t3", {})
    finally:
        if store is not None:
            store.close()
