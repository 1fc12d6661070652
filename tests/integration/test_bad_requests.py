"""Requests with bytes that no client of ours sends: each has an answer that says why, and none is logged."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from indexer.clickhouse.store import open_store
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from shim.http.params import MAX_FIELDS
from shim.model.tenancy import TenancySettings
from shim.service import ShimService
from shim.settings import ShimSettings

FORM = b"application/x-www-form-urlencoded"
TOKEN = b"Authorization: Bearer secret"


class Ports:
    """Where indexer and API listen; both ask for the token `secret`."""

    def __init__(self, indexer: int, api: int) -> None:
        self.indexer = indexer
        self.api = api

    async def ask(self, port: int, line: bytes, *headers: bytes, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the answer to these bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [line + b" HTTP/1.1", b"Host: localhost", *headers, b"Content-Length: %d" % len(body)]
        writer.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body)
        async with asyncio.timeout(120):
            answer = await reader.read()
        writer.close()
        return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]

    async def form(self, kind: bytes, body: bytes) -> tuple[int, bytes]:
        line = b"POST /api/v1/query"
        return await self.ask(self.api, line, TOKEN, b"Content-Type: " + kind, body=body)


@pytest.fixture
async def ports(migrated_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Ports]:
    store = open_store(migrated_dsn, pool=6)
    journal = JournalSettings(path=str(tmp_path / "journal.sqlite"))
    indexer = IndexerService(
        Settings(listen="127.0.0.1:0", up=False, journal=journal, tokens={"secret": "*:* write,admin"}), store
    )
    tenancy = TenancySettings(mode="token", tokens={"secret": "1:1"})
    api = ShimService(ShimSettings(listen="127.0.0.1:0", tenancy=tenancy), store=store)
    await indexer.start()
    await api.start()
    yield Ports(indexer.port, api.port)
    await api.stop()
    await indexer.stop()
    store.close()
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR or r.exc_info]


async def test_tokens_that_are_not_text(ports: Ports) -> None:
    for token in (b"Bearer \xff", b"Bearer secret\xff", b"\xff secret", b"Bearer \xc0\x80", b""):
        header = b"Authorization: " + token
        assert (await ports.ask(ports.api, b"GET /api/v1/query?query=1", header))[0] == 401
        assert (await ports.ask(ports.indexer, b"POST /v1/messages", header, body=b"[]"))[0] == 401
        assert (await ports.ask(ports.indexer, b"GET /status", header))[0] == 401


async def test_expectations(ports: Ports) -> None:
    for port, line in ((ports.api, b"GET /api/v1/query?query=1"), (ports.indexer, b"POST /v1/messages")):
        for said in (b"\xff", b"x", b"100-continue\xff"):
            assert (await ports.ask(port, line, TOKEN, b"Expect: " + said))[0] == 417


async def test_forms_are_utf_8(ports: Ports) -> None:
    """Forms are UTF-8, as with Go's servers, for any charset they name."""
    for charset in (b"nope", b"rot13", b"utf-16", b"idna", b"undefined", b"\xff", b"utf-8"):
        status, body = await ports.form(FORM + b"; charset=" + charset, b"query=%22%c3%a9%22")
        assert status == 200
        assert json.loads(body)["data"]["result"][1] == "\u00e9"


async def test_bytes_that_are_not_utf_8(ports: Ports) -> None:
    for given in (b"%22%ff%22", b"%22\xff%22", b"%22%ed%a0%80%22"):
        for status, body in (
            await ports.form(FORM, b"query=" + given),
            await ports.ask(ports.api, b"GET /api/v1/query?query=" + given.replace(b"\xff", b"%ff"), TOKEN),
        ):
            assert status == 200
            assert set(json.loads(body)["data"]["result"][1]) == {"\ufffd"}


async def test_fields_have_a_bound(ports: Ports) -> None:
    many = b"&".join([b"x=1"] * 5_000)
    assert (await ports.form(FORM, many + b"&query=1"))[0] == 200
    status, body = await ports.form(FORM, b"&" * MAX_FIELDS + b"query=1")
    assert (status, json.loads(body)["error"]) == (
        400,
        f"error parsing form values: more than {MAX_FIELDS} fields",
    )


async def test_limits_are_ascii_numbers(ports: Ports) -> None:
    for limit in ("%d9%a3", "1_0", "%201", "1e9", "9" * 5_000, "9223372036854775808", "0x1", "-"):
        for path in ("metadata", "labels", "label/job/values"):
            line = f"GET /api/v1/{path}?limit={limit}".encode()
            assert (await ports.ask(ports.api, line, TOKEN))[0] == 400


async def test_times(ports: Ports) -> None:
    for at in ("1e400", "-1e400", "nan", "%d9%a3", "9" * 5_000, "9" * 5_000 + "y"):
        for line in (
            f"GET /api/v1/query?query=1&time={at}",
            f"GET /api/v1/query?query=1&timeout={at}",
            f"GET /api/v1/query_range?query=1&start=0&end=1&step={at}",
        ):
            assert (await ports.ask(ports.api, line.encode(), TOKEN))[0] == 400


async def test_idempotency_keys(ports: Ports) -> None:
    header = b"Idempotency-Key: \xff\xfe"
    status, body = await ports.ask(ports.indexer, b"POST /v1/messages", TOKEN, header, body=b"[]")
    assert (status, json.loads(body)["error"][:15]) == (400, "Idempotency-Key")


async def test_a_message_that_is_wrong_is_its_own_fault(ports: Ports) -> None:
    good = {
        "org_id": 1,
        "project_id": 1,
        "name": "n",
        "type": "d",
        "timestamp": int(time.time()),
        "value": [1.7e308, 1.7e308],
    }
    messages = [
        good,
        {**good, "tags": {"9" * 5_000: 1}},
        {**good, "value": [10**400]},
        {**good, "org_id": 10**99},
    ]
    status, body = await ports.ask(
        ports.indexer, b"POST /v1/messages", TOKEN, body=json.dumps(messages).encode()
    )
    answer = json.loads(body)
    assert (status, answer["accepted"]) == (200, 1)
    assert [r["position"] for r in answer["rejected"]] == [1, 2, 3]


async def test_bodies_that_unpack_to_much(ports: Ports) -> None:
    bomb = gzip.compress(b"[" + b" " * (64 << 20) + b"]", 1)
    packed = b"Content-Encoding: gzip"
    assert len(bomb) < 1 << 20
    assert (await ports.ask(ports.indexer, b"POST /v1/messages", TOKEN, packed, body=bomb))[0] == 413
    kind = b"Content-Type: " + FORM
    status, body = await ports.ask(ports.api, b"POST /api/v1/query", TOKEN, packed, kind, body=bomb)
    assert (status, b"larger than" in body) == (400, True)
