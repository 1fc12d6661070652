"""Header mode tied to a proxy: by a secret, by a client certificate, by both; and the names in a 401."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.settings import Tls
from indexer.access.grants import digest_of, hash_password
from indexer.clickhouse.store import open_store
from shim.model.tenancy import TenancySettings
from shim.service import ShimService
from shim.settings import ShimSettings
from tests.support.certificates import Authority

ORG = {"X-Scope-OrgID": "1:1"}
SECRET = {"X-Proxy-Secret": "s3cret"}


@asynccontextmanager
async def running(dsn: str, tenancy: TenancySettings, tls: Tls | None = None) -> AsyncIterator[ShimService]:
    store = open_store(dsn, pool=3)
    api = ShimService(ShimSettings(listen="127.0.0.1:0", tenancy=tenancy, tls=tls or Tls()), store=store)
    await api.start()
    try:
        yield api
    finally:
        await api.stop()
        store.close()


async def status(
    api: ShimService, headers: Mapping[str, str], path: str = "/api/v1/query?query=1", **more: Any
) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{api.url}{path}", headers=headers, **more) as response,
    ):
        return response.status


async def test_by_secret(migrated_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    tenancy = TenancySettings(mode="header", proxy_secret=f"sha256:{digest_of('s3cret').hex()}")
    async with running(migrated_dsn, tenancy) as api:
        assert await status(api, ORG | SECRET) == 200
        assert await status(api, ORG) == 401
        assert await status(api, ORG | {"X-Proxy-Secret": "other"}) == 401
        assert await status(api, SECRET) == 401  # and no tenant
        assert await status(api, {}, "/-/healthy") == 200
        assert (await status(api, {}, "/metrics"), await status(api, SECRET, "/metrics")) == (401, 200)
    assert "event=proxy_unknown" not in caplog.text


async def test_by_certificate_and_by_both(migrated_dsn: str, tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    proxy, other = ca.issue("proxy", name="proxy"), ca.issue("other", name="other")
    tls = ca.listener(ca.issue("server"), clients=True)
    async with running(migrated_dsn, TenancySettings(mode="header", proxy_cert="proxy"), tls) as api:
        assert await status(api, ORG, ssl=ca.context(proxy)) == 200
        assert await status(api, ORG, ssl=ca.context(other)) == 401
        assert await status(api, ORG, ssl=ca.context()) == 401
    cert = f"sha256:{proxy.fingerprint}"
    tenancy = TenancySettings(mode="header", proxy_cert=cert, proxy_secret="s3cret")
    async with running(migrated_dsn, tenancy, tls) as api:
        assert await status(api, ORG | SECRET, ssl=ca.context(proxy)) == 200
        assert await status(api, ORG, ssl=ca.context(proxy)) == 401
        assert await status(api, ORG | SECRET, ssl=ca.context(other)) == 401


async def test_untied_works_and_warns(migrated_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    async with running(migrated_dsn, TenancySettings(mode="header")) as api:
        assert await status(api, ORG) == 200
    assert "event=proxy_unknown" in caplog.text


async def test_what_a_401_names(migrated_dsn: str) -> None:
    """Basic, too, where a password is known; clients that send either at once are let in."""
    password = f"basic:ada:scrypt:{bytes(16).hex()}:{hash_password('pass', bytes(16)).hex()}"
    tokens = {"token": "1:1", password: "1:1"}
    async with running(migrated_dsn, TenancySettings(mode="token", tokens=tokens)) as api:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{api.url}/api/v1/query?query=1") as response,
        ):
            assert response.status == 401
            assert (
                response.headers["WWW-Authenticate"] == 'Bearer realm="meterhouse", Basic realm="meterhouse"'
            )
        assert await status(api, {"Authorization": aiohttp.encode_basic_auth("ada", "pass")}) == 200
        assert await status(api, {"Authorization": "Bearer token"}) == 200
