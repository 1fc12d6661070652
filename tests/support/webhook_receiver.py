"""A server of HTTP that keeps all requests."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.ports import free_port


@dataclass(slots=True)
class WebhookReceiver:
    """`answers`: statuses of the next requests, then 200. Requests of /hang wait for `release`.

    `fails` says which requests are answered with 500, and are kept in `failed` instead. `hangs` says which
    wait, too.
    """

    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    fails: Callable[[Any], bool] = lambda _: False
    hangs: Callable[[Any], bool] = lambda _: False
    failed: list[Any] = field(default_factory=list)
    port: int = 0
    _runner: web.AppRunner | None = None

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        self.port = self.port or free_port()  # stays ours while it is stopped
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=tls).start()

    async def stop(self) -> None:
        self.release.set()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bodies(self) -> list[Any]:
        return [body for _, _, body in self.requests]

    async def until(self, is_so: Callable[[], bool], deadline_s: float = 180.0) -> None:
        """Wait for a condition; it fails after a deadline."""
        async with asyncio.timeout(deadline_s):
            while not is_so():  # noqa: ASYNC110 - any condition
                await asyncio.sleep(0.01)

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        read = json.loads(body or b"null")
        if request.path.startswith("/hang") or self.hangs(read):
            await self.release.wait()
        if self.fails(read):
            self.failed.append(read)
            return web.Response(status=500)
        self.requests.append((request.path, dict(request.headers), read))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)
