"""Writes of one tenant never hide, double or replace those of another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexer.clickhouse.schema import Retention
from indexer.intern.ids import string_id
from indexer.intern.series import mix, series_ids
from indexer.receive.messages import parse
from shim.model.tenancy import Tenant
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

NOW_S = 20_500 * 86_400
DATABASE = "tenant_writes"
KEPT = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)


@pytest.fixture
def p(chdb_path: Path) -> Iterator[Pipeline]:
    with embedded(chdb_path, DATABASE, pool=2) as store:
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        yield pipeline
        pipeline.close()


def _metric_id_that_meets(name: str, owner: Tenant, attacker: Tenant) -> int:
    """Return an id that gives `attacker`'s series without tags the series id of `owner`'s metric `name`."""

    def seed(tenant: Tenant) -> np.uint64:
        packed = np.array([tenant.org_id << 32 | (tenant.project_id or 0)], np.uint64)
        return np.uint64(mix(packed)[0])

    with np.errstate(over="ignore"):
        return int(np.uint64(string_id(owner.org_id, name, 0)) + seed(owner) - seed(attacker))


def test_a_series_id_of_anothers_choice_hides_nothing(p: Pipeline) -> None:
    """An id that a message brings is chosen freely, so series ids of two tenants can be made to meet."""
    chosen = _metric_id_that_meets("victim", Tenant(1, 1), Tenant(2, 1))
    ids = [
        series_ids(org, 1, 1, np.array([metric], np.uint64), np.zeros(1, np.uint64))[0]
        for org, metric in ((1, string_id(1, "victim", 0)), (2, chosen))
    ]
    assert ids[0] == ids[1]
    message = {"org_id": 2, "project_id": 1, "metric_id": chosen, "timestamp": NOW_S - 5}
    body = json.dumps({**message, "tags": {}, "type": "c", "value": 5}).encode()
    parsed = parse(body, key="k", created_ms=NOW_S * 1000, latest_s=NOW_S, max_messages=10)
    assert parsed.accepted == 1
    p.insert(parsed.units)
    p.send([f"victim:7|c|T{NOW_S - 5}"])
    assert p.instant("sum(increase(victim[1m]))", NOW_S) == {(): 7.0}
    p.tenant = Tenant(2, 1)
    assert p.instant('sum(increase({__name__!=""}[1m]))', NOW_S) == {(): 5.0}
