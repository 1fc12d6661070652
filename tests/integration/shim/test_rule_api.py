"""/api/v1/rules and /api/v1/alerts: Prometheus' parameters and fields, each tenant its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.store import Store, open_store
from shim.model.tenancy import TenancySettings
from shim.service import ShimService
from shim.settings import RulesSettings, ShimSettings

RULES: Final = """
groups:
- name: {name}
  interval: 1s
  limit: 7
  rules:
  - record: one
    expr: vector(1)
    labels: {{tier: gold}}
  - alert: Firing
    expr: one > 0
    keep_firing_for: 1m
    labels: {{severity: page}}
    annotations: {{text: "{{{{ $value }}}}"}}
  - alert: Waiting
    expr: vector(2.5)
    for: 1h
  - record: two
    expr: label_replace(vector(1), "a", "1", "", "") or label_replace(vector(1), "a", "2", "", "")
    labels: {{a: same}}
"""
BROKEN: Final = "groups: [{name: g, rules: [{record: x, expr: '('}]}]"


async def _take(body: bytes, key: str) -> tuple[int, bytes]:
    """Take messages and drop them: these tests look at the state of rules alone."""
    del body, key
    return 200, b'{"accepted": 1, "rejected": []}'


@pytest.fixture(scope="module")
def store(chdb_path: Path) -> Iterator[Store]:
    opened = open_store(f"chdb://{chdb_path}?database=rule_api", pool=4)
    migrate(opened, Retention())
    yield opened
    opened.command("DROP DATABASE rule_api SYNC")
    opened.close()


class Asking:
    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base
        self.token = ""

    async def __call__(
        self, path: str, tenant: str = "", method: str = "GET", **params: str | list[str]
    ) -> tuple[int, Any]:
        headers = {"X-Scope-OrgID": tenant} if tenant else {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        pairs = [
            (k.replace("_list", "[]"), v)
            for k, of in params.items()
            for v in ([of] if isinstance(of, str) else of)
        ]
        url = f"{self._base}{path}"
        async with self._session.request(method, url, params=pairs, headers=headers) as answer:
            document = await answer.json() if "json" in answer.content_type else await answer.text()
            return answer.status, document.get("data", document.get("error")) if isinstance(
                document, dict
            ) else document

    async def until(self, path: str, seen: str, tenant: str = "") -> Any:
        """Ask until the answer holds a text."""
        deadline = time.monotonic() + 120
        while True:
            found = await self(path, tenant)
            if seen in str(found):
                return found[1]
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.05)


@asynccontextmanager
async def serving(store: Store, rules: Path, **settings: Any) -> AsyncIterator[Asking]:
    of = RulesSettings(path=str(rules), reload_s=3_600.0)
    service = ShimService(
        ShimSettings(**{"listen": "127.0.0.1:0", "rules": of, **settings}), store=store, take_messages=_take
    )
    await service.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Asking(session, f"http://{service.address}")
    finally:
        await service.stop()


async def test_groups_have_the_fields_of_prometheus(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULES.format(name="g"))
    async with serving(store, tmp_path) as ask:
        await ask.until("/api/v1/rules", "'state': 'firing'")
        (group,) = (await ask.until("/api/v1/rules", "'health': 'err'"))["groups"]
        deadline = time.monotonic() + 120
        # It is known at the end of a tick; ticks that are caught up evaluate no alert.
        while not group["evaluationTime"] or "'state': 'inactive'" in str(group):
            assert time.monotonic() < deadline
            (group,) = (await ask("/api/v1/rules"))[1]["groups"]
        assert {k: group[k] for k in ("name", "file", "interval", "limit")} == {
            "name": "g", "file": "a.yml", "interval": 1, "limit": 7,
        }  # fmt: skip
        assert group["evaluationTime"] > 0
        one, firing, waiting, two = group["rules"]
        assert one["type"] == "recording"
        assert one["health"] == "ok"
        assert one["labels"] == {"tier": "gold"}
        assert one["query"] == "vector(1)"
        assert two["health"] == "err"
        assert two["lastError"].startswith("vector contains metrics with the same labelset")
        assert {k: firing[k] for k in ("state", "name", "duration", "keepFiringFor", "type")} == {
            "state": "firing", "name": "Firing", "duration": 0, "keepFiringFor": 60, "type": "alerting",
        }  # fmt: skip
        assert firing["annotations"] == {"text": "{{ $value }}"}
        (alert,) = firing["alerts"]
        assert alert["labels"] == {"alertname": "Firing", "severity": "page", "tier": "gold"}
        assert alert["annotations"] == {"text": "1"}
        assert alert["value"] == "1e+00"
        assert alert["state"] == "firing"
        assert alert["activeAt"].endswith("Z")
        assert waiting["state"] == "pending"
        assert waiting["alerts"][0]["value"] == "2.5e+00"
        _, alerts = await ask("/api/v1/alerts")
        assert sorted(a["labels"]["alertname"] for a in alerts["alerts"]) == ["Firing", "Waiting"]


async def test_parameters_choose_and_page(store: Store, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.yml").write_text(RULES.format(name=f"of_{name}"))
    async with serving(store, tmp_path) as ask:
        await ask.until("/api/v1/rules", "of_c")

        async def names(**params: str | list[str]) -> list[list[str]]:
            status, data = await ask("/api/v1/rules", "", "GET", **params)
            assert status == 200, data
            return [[g["name"], *(r["name"] for r in g["rules"])] for g in data["groups"]]

        assert await names(type="alert", file_list="a.yml") == [["of_a", "Firing", "Waiting"]]
        assert await names(type="record", rule_group_list=["of_b", "of_c"]) == [
            ["of_b", "one", "two"], ["of_c", "one", "two"],
        ]  # fmt: skip
        assert await names(rule_name_list="Waiting", rule_group_list="of_a") == [["of_a", "Waiting"]]
        assert await names(match_list=['{tier="gold"}', '{severity="x"}'], file_list="b.yml") == [
            ["of_b", "one"]
        ]
        assert await names(rule_name_list="absent") == []
        _, data = await ask("/api/v1/rules", exclude_alerts="true")
        assert all(not r.get("alerts") for g in data["groups"] for r in g["rules"])
        seen, token = [], ""
        while True:
            more = {"group_next_token": token} if token else {}
            _, data = await ask("/api/v1/rules", group_limit="2", **more)
            seen.append([g["name"] for g in data["groups"]])
            token = data.get("groupNextToken", "")
            if not token:
                break
        assert seen == [["of_a", "of_b"], ["of_c"]]
        _, data = await ask("/api/v1/rules", group_limit="1", type="alert", rule_group_list=["of_b", "of_c"])
        assert await names(
            group_limit="1",
            type="alert",
            rule_group_list=["of_b", "of_c"],
            group_next_token=data["groupNextToken"],
        ) == [["of_c", "Firing", "Waiting"]]  # filters come before pages
        assert await names(type="ALERT", exclude_alerts="True", file_list="a.yml") == [
            ["of_a", "Firing", "Waiting"]
        ]
        for params, text in (
            ({"type": "x"}, 'not supported value "x"'),
            ({"match_list": '{tier=~".*"}'}, "at least one non-empty matcher"),
            ({"group_next_token": "x"}, "group_limit needs to be present"),
            ({"group_next_token": "x", "group_limit": "1"}, 'invalid group_next_token "x"'),
            ({"group_limit": "0"}, "greater than 0"),
            ({"group_limit": "x"}, "valid number"),
            ({"exclude_alerts": "x"}, "boolean"),
            ({"match_list": "1"}, 'invalid parameter "match[]"'),
        ):
            status, error = await ask("/api/v1/rules", **params)
            assert status == 400
            assert text in error


async def test_a_tenant_sees_its_own_rules(store: Store, tmp_path: Path) -> None:
    for place in ("1/1", "1/2", "2/1", "1", "name/1"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "r.yml").write_text(RULES.format(name=f"of_{place.replace('/', '_')}"))
    (tmp_path / "2" / "1" / "bad.yml").write_text(BROKEN)
    async with serving(store, tmp_path, tenancy=TenancySettings(mode="header")) as ask:
        await ask.until("/api/v1/rules", "of_2_1", "2:1")
        for tenant, groups in {
            "1:1": [("r.yml", "of_1_1")],
            "1:2": [("r.yml", "of_1_2")],
            "1:*": [("1/r.yml", "of_1_1"), ("2/r.yml", "of_1_2"), ("r.yml", "of_1")],
            "2:1": [("r.yml", "of_2_1")],
            "3:1": [],
        }.items():
            _, data = await ask("/api/v1/rules", tenant)
            assert [(g["file"], g["name"]) for g in data["groups"]] == groups, tenant
            assert ("fileErrors" in data) == tenant.startswith("2:"), tenant
        await ask.until("/api/v1/alerts", "Firing", "1:1")
        for tenant in ("3:1", "2:2"):
            assert await ask("/api/v1/alerts", tenant) == (200, {"alerts": []})
        assert (await ask("/-/reload", "1:1", "POST"))[0] == 403  # a tenant is not the operator


async def test_a_reload_is_the_operators(store: Store, tmp_path: Path) -> None:
    """A credential of one org may have the right admin, as deletions need it; files of others stay hidden."""
    (tmp_path / "2" / "1").mkdir(parents=True)
    (tmp_path / "2" / "1" / "secret.yml").write_text(BROKEN)
    tokens = {"of-org": "1:* query,admin", "of-all": "*:* admin", "of-server": "1:* query,operator"}
    async with serving(store, tmp_path, tenancy=TenancySettings(mode="token", tokens=tokens)) as ask:
        told = {}
        for ask.token in tokens:
            status, told[ask.token] = await ask("/-/reload", method="POST")
            assert status == (403 if ask.token == "of-org" else 500)
    assert "secret.yml" not in told["of-org"]
    assert "secret.yml" in told["of-all"]
    assert told["of-server"] == told["of-all"]


async def test_reload_reads_changed_files_at_once(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULES.format(name="g"))
    async with serving(store, tmp_path) as ask:
        await ask.until("/api/v1/rules", "'g'")
        (tmp_path / "b.yaml").write_text(RULES.format(name="other"))
        assert (await ask("/-/reload", method="POST"))[0] == 200
        _, data = await ask("/api/v1/rules")
        assert [g["name"] for g in data["groups"]] == ["g", "other"]
        (tmp_path / "b.yaml").write_text(BROKEN)
        status, text = await ask("/-/reload", method="POST")
        assert status == 500
        assert text.startswith('failed to reload config: b.yaml:1: group "g", rule 1, "x"')
        _, data = await ask("/api/v1/rules")
        assert [g["name"] for g in data["groups"]] == ["g", "other"]
        assert data["fileErrors"][0]["file"] == "b.yaml"
