"""A proxy of HTTP that fails on command: in front of the indexer, and in front of ClickHouse.

It runs in a thread of its own. Each request with a body is a subject of the mode; others pass, so that
questions about health are answered truly.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

How = Literal["pass", "cut", "lose", "double", "delay", "reorder", "refuse", "hang"]

#: Headers of one connection, not of the request.
_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
#: How long a request waits for another one to overtake it.
_OVERTAKE_S: Final = 0.3
#: How long the thread may take to answer on a busy machine.
_PATIENT_S: Final = 120.0


class Mode(msgspec.Struct, frozen=True):
    """The fate of a request.

    `cut` closes without forwarding, `lose` forwards and closes without the answer, `double` forwards twice at
    once, `delay` forwards after `seconds`, `reorder` lets later requests overtake, `refuse` answers `status`
    with ClickHouse's `code`, `hang` keeps the request until the mode changes and closes then.
    """

    how: How = "pass"
    seconds: float = 0.0
    status: int = 503
    code: int = 0
    #: Requests with these bytes in their body or URL alone; empty: all.
    match: bytes = b""


class Proxy:
    """A proxy on a free port of `host`, before `target` (`http://host:port`)."""

    def __init__(self, target: str, host: str = "127.0.0.1") -> None:
        self._target, self._host = target, host
        self._mode = Mode()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._changed = asyncio.Event()
        self._overtaken: asyncio.Event | None = None
        self.url = ""
        #: Requests that met a mode other than `pass`, by path.
        self.struck: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(_PATIENT_S), "the proxy did not start"

    def set(self, mode: Mode) -> None:
        """Change the mode; requests that hang are closed."""
        self._call(lambda: self._set(mode))

    def close(self) -> None:
        """End the proxy and its thread."""
        self.set(Mode())
        self._call(self._end.set)
        self._thread.join(_PATIENT_S)

    def _call(self, do: Callable[[], None]) -> None:
        done = threading.Event()

        def call() -> None:
            do()
            done.set()

        self._loop.call_soon_threadsafe(call)
        assert done.wait(_PATIENT_S), "the proxy does not answer"

    def _set(self, mode: Mode) -> None:
        self._mode = mode
        self.struck.clear()
        self._changed.set()
        self._changed = asyncio.Event()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, auto_decompress=False, handler_cancellation=False, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, self._host, 0).start()
        self.url = f"http://{self._host}:{runner.addresses[0][1]}"
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as self._session:
            self._ready.set()
            await self._end.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        mode = self._mode
        struck = (
            mode.how != "pass" and body and (mode.match in body or mode.match in request.raw_path.encode())
        )
        if not struck:
            return await self._forward(request, body)
        self.struck[request.path] += 1
        match mode.how:
            case "refuse":
                headers = {"X-ClickHouse-Exception-Code": str(mode.code)} if mode.code else {}
                text = f"Code: {mode.code}. DB::Exception: refused by the proxy. (SOME_ERROR)"
                return web.Response(text=text, status=mode.status, headers=headers)
            case "cut":
                return self._close(request)
            case "hang":
                await self._changed.wait()
                return self._close(request)
            case "lose":
                await self._forward(request, body)
                return self._close(request)
            case "double":
                first, _ = await asyncio.gather(self._forward(request, body), self._forward(request, body))
                return first
            case "delay":
                await asyncio.sleep(mode.seconds)
            case "reorder":
                await self._let_one_pass()
        return await self._forward(request, body)

    async def _let_one_pass(self) -> None:
        """Hold every other request until the next one has been forwarded, or for a while."""
        if self._overtaken is None:
            self._overtaken = asyncio.Event()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._overtaken.wait(), _OVERTAKE_S)
            self._overtaken = None
        else:
            self._overtaken.set()

    async def _forward(self, request: web.Request, body: bytes) -> web.StreamResponse:
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in _HOP]
        url = f"{self._target}{request.raw_path}"
        try:
            async with self._session.request(
                request.method,
                URL(url, encoded=True),
                data=body or None,
                headers=headers,
                skip_auto_headers=["Content-Type"],
            ) as answer:
                content = await answer.read()
                kept = [(k, v) for k, v in answer.headers.items() if k.lower() not in _HOP]
                response = web.Response(body=content, status=answer.status)
                response.headers.clear()
                response.headers.extend(kept)
                return response
        except (aiohttp.ClientError, TimeoutError):
            return self._close(request)

    def _close(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()
