"""Help, unit and boundaries of metrics: from a row of the table to those who ask, in both kinds of store."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from indexer.native import Ragged
from indexer.schema import Retention, migrate
from indexer.store import Store, open_store
from shim.catalog import Catalog
from shim.catalog.metadata import MAX_AGE_S, Described, Metadata
from shim.settings import ShimSettings
from shim.tenancy import Tenant

T = Tenant(1, 1)


@pytest.fixture(params=["chdb_dsn", "http_dsn"])
def opened(request: pytest.FixtureRequest) -> Iterator[Store]:
    store = open_store(request.getfixturevalue(request.param), pool=2)
    yield store
    store.close()


def put(store: Store, tenant: Tenant, name: str, said: Described, updated_ms: int = 1) -> None:
    store.insert(
        "metric_metadata",
        {
            "org_id": np.array([tenant.org_id], np.uint32),
            "project_id": np.array([tenant.project_id], np.uint32),
            "name": [name],
            "help": [said.help],
            "unit": [said.unit],
            "buckets": Ragged(np.array([len(said.buckets)]), np.array(said.buckets, np.float64)),
            "updated_ms": np.array([updated_ms], np.uint64),
        },
    )


def test_the_latest_row_of_a_name_wins_and_no_other_tenant_sees_it(opened: Store) -> None:
    opened.create_database()
    assert Metadata(opened).of(T, "x") == Described()  # an indexer of today was never started here
    migrate(opened, Retention())
    seconds = Described('Time to "pay",\n all of it', "seconds", (0.1, 0.25, 0.5, 1.0))
    now_ms = 1_800_000_000_000
    put(opened, T, "pay.time", seconds, now_ms + 2)
    put(opened, T, "pay.time", Described("older", "ms", (5.0,)), now_ms + 1)
    put(opened, Tenant(1, 2), "pay.time", Described("of another project", "", (0.3,)), now_ms)
    put(opened, Tenant(2, 1), "pay.time", Described("of another org"), now_ms + 9)
    clock = [0.0]
    metadata = Metadata(opened, lambda: clock[0])
    assert metadata.of(T, "pay.time") == metadata.of(T, "pay_time") == seconds
    assert metadata.of(T, "pay") == Described()
    assert metadata.of(Tenant(2, 1), "pay.time") == Described("of another org")
    assert metadata.of(Tenant(2, 2), "pay.time") == Described()
    whole_org = Described(seconds.help, "seconds", (0.1, 0.25, 0.3, 0.5, 1.0))
    assert metadata.of(Tenant(1, None), "pay.time") == whole_org
    put(opened, T, "pay.time", Described("new"), now_ms + 3)
    assert metadata.of(T, "pay.time") == seconds
    clock[0] += MAX_AGE_S
    assert metadata.of(T, "pay.time") == Described("new")
    settings = ShimSettings()
    assert Catalog(opened, settings).buckets_of(Tenant(1, 2), "pay.time") == (0.3,)


def test_a_store_of_the_first_version_gets_the_table(opened: Store) -> None:
    migrate(opened, Retention())
    opened.command("DROP TABLE metric_metadata SYNC")
    opened.command("ALTER TABLE schema_migrations DELETE WHERE version = 2 SETTINGS mutations_sync = 2")
    migrate(opened, Retention(days_1d=30))
    put(opened, T, "x", Described("help"), 1_800_000_000_000)
    assert Metadata(opened).of(T, "x").help == "help"
    (ttl,) = opened.rows("SELECT engine_full FROM system.tables WHERE database = currentDatabase()"
                         " AND name = 'metric_metadata'")  # fmt: skip
    assert "toIntervalDay(30)" in ttl[0]
