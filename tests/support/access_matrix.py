"""Every endpoint of indexer and shim, asked with every kind of credential; docs/security.md has the answers.

python -m tests.support.access_matrix    writes the table there

The endpoints are those of the routers, so that a new one is in the table, and in the test, by itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

from agent.wire import bundle, heartbeat, metadata
from agent.wire.frame import encode
from indexer.access.grants import digest_of, hash_password
from indexer.clickhouse.store import open_store
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from shim.model.tenancy import TenancySettings
from shim.service import ShimService
from shim.settings import ShimSettings
from tests.support.certificates import Authority
from tests.support.frames import counter_frame
from tests.support.markdown import ROOT, table, write_between

FILE: Final = ROOT / "docs" / "security.md"
MARK: Final = "tests.support.access_matrix"
#: Names that org 1 and org 2 store, and no other.
OURS: Final = "ours"
THEIRS: Final = "theirs"
_SALT: Final = bytes(16)

Headers = Sequence[tuple[str, str]]


def _bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


_PASSWORD: Final = base64.b64encode(b"ada:pass").decode()
#: Credentials of requests; all writes are for org 1, project 1. A certificate is shown if its name is here.
CREDENTIALS: Final[Mapping[str, Headers]] = {
    "none": [],
    "wrong": [_bearer("wrong")],
    "expired": [_bearer("expired")],
    "two headers": [_bearer("own"), _bearer("own")],
    "own and other's": [_bearer("own"), _bearer("other")],
    "X-Scope-OrgID alone": [("X-Scope-OrgID", "1:1")],
    "other org": [_bearer("other")],
    "other org, X-Scope-OrgID of this": [_bearer("other"), ("X-Scope-OrgID", "1:1")],
    "own, X-Org-Id of another": [_bearer("own"), ("X-Org-Id", "2"), ("X-Project-Id", "1")],
    "admin": [_bearer("admin")],
    "own, admin": [_bearer("own admin")],
    "own, operator": [_bearer("own operator")],
    "own": [_bearer("own")],
    "own, by password": [("Authorization", f"Basic {_PASSWORD}")],
    "unknown certificate": [],
    "expired certificate": [],
    "own certificate, wrong token": [_bearer("wrong")],
    "own certificate, other org's token": [_bearer("other")],
    "other org's certificate": [],
    "other org's certificate, X-Scope-OrgID of this": [("X-Scope-OrgID", "1:1")],
    "own certificate": [],
    "own certificate, by fingerprint": [],
}
#: Common names of certificates, by credential.
CERTIFICATES: Final = {
    "unknown certificate": "nobody",
    "expired certificate": "late",
    "own certificate, wrong token": "web-1",
    "own certificate, other org's token": "web-1",
    "other org's certificate": "web-2",
    "other org's certificate, X-Scope-OrgID of this": "web-2",
    "own certificate": "web-1",
    "own certificate, by fingerprint": "pinned",
}
TOKENS: Final = {
    f"sha256:{digest_of('own').hex()}": "1:1 write,query",
    f"basic:ada:scrypt:{_SALT.hex()}:{hash_password('pass', _SALT).hex()}": "1:1 write,query",
    "own admin": "1:1 write,query,admin",
    "own operator": "1:1 write,query,operator",
    "other": "2:1 write,query",
    "expired": "1:1 write,query expires=2020-01-01",
    "admin": "*:* admin",
    "cert:web-1": "1:1 write,query",
    "cert:web-2": "2:1 write,query",
    "cert:late": "1:1 write,query expires=2020-01-01",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route of one of the two listeners."""

    part: str
    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.part} {self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. `first_status`: of the redirect that led to it, if any; `kind`: its media type."""

    status: int
    text: str
    first_status: int
    kind: str


Answers = dict[Endpoint, dict[str, Answer]]


def routes(part: str, app: web.Application) -> Iterator[Endpoint]:
    """Yield the routes of an application; HEAD is as GET."""
    for route in app.router.routes():
        resource = route.resource
        if resource is not None and route.method != "HEAD":
            yield Endpoint(part, route.method, resource.canonical)


class World:
    """Both listeners with tokens on one store, to which org 1 and org 2 have written."""

    def __init__(self, dsn: str, folder: Path) -> None:
        journal = JournalSettings(path=str(folder / "journal.sqlite"))
        listen = "127.0.0.1:0"
        self._store = open_store(dsn, pool=8)
        ca = Authority(folder)
        tls = ca.listener(ca.issue("server"), clients=True)
        pairs = {name: ca.issue(name, name=name) for name in {*CERTIFICATES.values()}}
        self._contexts = {name: ca.context(pairs[of]) for name, of in CERTIFICATES.items()}
        self._context = ca.context()  # without one
        tokens = TOKENS | {f"cert:sha256:{pairs['pinned'].fingerprint}": "1:1 write,query"}
        settings = Settings(dsn=dsn, listen=listen, journal=journal, up=False, tokens=tokens, tls=tls)
        self._indexer = IndexerService(settings, self._store)
        tenancy = TenancySettings(mode="token", tokens=tokens)
        self._shim = ShimService(
            ShimSettings(dsn=dsn, listen=listen, tenancy=tenancy, tls=tls),
            store=self._store,
            subscribe=self._indexer.subscribe,
        )
        self._session: aiohttp.ClientSession
        self.now_s = int(time.time()) // 10 * 10 - 20

    async def start(self) -> None:
        await self._indexer.start()
        await self._shim.start()
        self._session = aiohttp.ClientSession()
        for name, org_id, token in ((OURS, 1, "own"), (THEIRS, 2, "other")):
            frame = encode(counter_frame({name: 1.0}, self.now_s, org_id=org_id))
            url = f"{self._indexer.url}/v1/frames"
            headers = [_bearer(token)]
            async with self._session.post(url, data=frame, headers=headers, ssl=self._context) as response:
                assert response.status == 200, await response.text()

    async def stop(self) -> None:
        await self._session.close()
        await self._shim.stop()
        await self._indexer.stop()
        self._store.close()

    def endpoints(self) -> list[Endpoint]:
        runners = {"indexer": self._indexer._runner, "shim": self._shim._runner}
        return [one for part, runner in runners.items() if runner for one in routes(part, runner.app)]

    async def ask(self, endpoint: Endpoint, credential: str) -> Answer:
        headers = CREDENTIALS[credential]
        base = self._indexer.url if endpoint.part == "indexer" else self._shim.url
        path = endpoint.path.replace("{name}", "__name__").replace("{path}", "labels").replace("{token}", "t")
        path = path.replace("{file}", "links")
        path = path.replace("{dataset}", "metrics").replace("{entity}", "metrics_counters")
        path = path.replace("{partition}", "0").replace("{uuid}", "0" * 32)
        more: dict[str, Any] = {"ssl": self._contexts.get(credential, self._context)}
        if endpoint.part == "shim":
            more["params" if endpoint.method != "POST" else "data"] = self._parameters(path)
        elif endpoint.method == "POST":
            more["data"] = self._body(path)
            headers = [*headers, ("Content-Type", "application/json")]
        url = f"{base}{path}" + ("?org_id=1" if path == "/v1/limits" else "")
        async with self._session.request(endpoint.method, url, headers=list(headers), **more) as response:
            first = response.history[0] if response.history else response
            return Answer(response.status, await response.text(), first.status, first.content_type)

    def _parameters(self, path: str) -> list[tuple[str, str]]:
        if path.startswith(("/api/v1/status", "/-/")) or path in ("/", "/ui/links", "/metrics"):
            return []
        every = '{__name__=~".+"}'
        times = [
            ("time", str(self.now_s + 20)),
            ("start", str(self.now_s - 60)),
            ("end", str(self.now_s + 20)),
        ]
        if path.endswith(("/snql", "/subscriptions")):
            every = "MATCH (metrics_counters) SELECT metric_id, sum(value) BY metric_id"
        if path.endswith("/mql"):
            every = "sum(ours)"
        window = [("time_window", "60"), ("resolution", "60")]
        return [("query", every), ("match[]", every), ("step", "20"), *times, *window]

    def _body(self, path: str) -> bytes:
        """Return the body of a request that writes to org 1, project 1."""
        match path:
            case heartbeat.PATH:
                return heartbeat.encode(
                    heartbeat.Heartbeat(
                        agent="a", epoch=1, org_id=1, project_id=1, flushed_until_ms=1, ended=False
                    )
                )
            case metadata.PATH:
                return metadata.encode(1, 1, {OURS: metadata.MetricDescription("Ours.")})
            case bundle.PATH:
                return bundle.encode([encode(counter_frame({OURS: 1.0}, self.now_s))])
            case "/v1/subscriptions":
                window = {"time_window_s": 60, "resolution_s": 60, "since_s": 0}
                names = {"dataset": "metrics", "entity": "metrics_counters", "query": "ours"}
                of = {"org_id": 1, "project_id": 1, "id": "0" * 32}
                return json.dumps({"remove": [of | names | window]}).encode()
            case "/v1/messages":
                message = {"org_id": 1, "project_id": 1, "name": OURS, "timestamp": self.now_s, "type": "c"}
                return json.dumps(message | {"value": 1, "tags": {}}).encode()
            case _:
                return encode(counter_frame({OURS: 1.0}, self.now_s))

    async def answers(self) -> Answers:
        """Every endpoint by every credential."""
        return {
            endpoint: {name: await self.ask(endpoint, name) for name in CREDENTIALS}
            for endpoint in self.endpoints()
        }

    def stored(self) -> dict[int, float]:
        """Return the sum of all counters by org."""
        return dict(self._store.rows("SELECT org_id, sum(value) FROM counters_10s GROUP BY org_id"))


@asynccontextmanager
async def running(dsn: str, folder: Path) -> AsyncIterator[World]:
    world = World(dsn, folder)
    await world.start()
    try:
        yield world
    finally:
        await world.stop()


def matrix(answers: Answers) -> str:
    """Return the statuses as Markdown; endpoints of a part with equal answers share a row."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for endpoint, given in answers.items():
        statuses = (endpoint.part, *(str(given[name].status) for name in CREDENTIALS))
        alike.setdefault(statuses, []).append(f"`{endpoint.method} {endpoint.path}`")
    rows = [(part, ", ".join(names), *statuses) for (part, *statuses), names in alike.items()]
    return table(("part", "endpoint", *CREDENTIALS), rows)


async def _write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with running(f"chdb://{folder}/chdb", Path(folder)) as world:
            write_between(FILE, MARK, matrix(await world.answers()))


if __name__ == "__main__":
    asyncio.run(_write())
