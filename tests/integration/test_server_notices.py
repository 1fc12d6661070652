"""`/api/v1/alertmanagers` and `/api/v1/notifications`: facts of the operator, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.clickhouse.schema import Retention
from indexer.clickhouse.store import Store
from shim.model.tenancy import TenancySettings
from shim.settings import AlertmanagerSettings
from tests.integration.test_http_api import serving
from tests.support.worlds import embedded


@pytest.fixture(scope="module")
def empty(chdb_path: Path) -> Iterator[Store]:
    with embedded(chdb_path, "server_notices", pool=2, kept=Retention()) as store:
        yield store


async def test_the_operator_sees_alertmanagers_and_problems(empty: Store, tmp_path: Path) -> None:
    missing = tmp_path / "missing.yml"
    alertmanager = AlertmanagerSettings(urls=["http://127.0.0.1:1/am"], files=[str(missing)])
    async with serving(empty, alertmanager=alertmanager) as client:
        assert (await client.ask("alertmanagers")).data == {
            "activeAlertmanagers": [{"url": "http://127.0.0.1:1/am/api/v2/alerts"}],
            "droppedAlertmanagers": [],
        }
        [notice] = (await client.ask("notifications")).data
        assert set(notice) == {"text", "date", "active"}
        assert str(missing) in notice["text"]
    tokens = {
        "tenant-token-of-one": "1:1",
        "admin-token-of-one": "1:* query,admin",  # it deletes data of its org, and sees no other org's
        "operator-token": "1:1 query,operator",
    }
    tenancy = TenancySettings(mode="token", tokens=tokens)
    async with serving(empty, alertmanager=alertmanager, tenancy=tenancy) as client:
        for token, seen in zip(tokens, (0, 0, 1), strict=True):
            headers = {"Authorization": f"Bearer {token}", "X-Org-Id": "1", "X-Project-Id": "1"}
            found = (await client.ask("alertmanagers", headers=headers)).data
            assert len(found["activeAlertmanagers"]) == seen
            assert len((await client.ask("notifications", headers=headers)).data) == seen


async def test_links_of_alerts_lead_to_the_page(empty: Store) -> None:
    path = "/graph?g0.expr=up&g0.tab=1"
    async with serving(empty) as client, client.session.get(f"{client.base}{path}") as reply:
        assert reply.status == 200
        assert (reply.url.path, reply.url.query_string) == ("/", "q=up&show=table")
