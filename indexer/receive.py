"""The indexer's HTTP side: frames and messages in, health and metrics out.

Owns the answers (docs/wire-format.md): 200 is in ClickHouse, 400 never send it again, 413 too large,
503 with Retry-After send the same bytes later. Everything else belongs to the writer.
"""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from agent import frame as wire
from agent import heartbeat, metadata
from agent.metadata import MetadataMessage
from indexer.budget import DecodeBudget
from indexer.columns import check
from indexer.hearing import Hearing
from indexer.identity import digest, frame_identity
from indexer.messages import MessagesError, Parsed, parse
from indexer.metrics import Metrics
from indexer.pages import JSON, Pages, is_json
from indexer.settings import Settings
from indexer.store import StoreError
from indexer.unit import Unit
from indexer.writer import Conflict, Refused, Unavailable, WriteError, Writer

#: Bodies beyond this are decoded in a thread, so that the loop goes on answering.
_LARGE_BYTES: Final = 64 << 10
_MAX_KEY: Final = 200
#: Bytes of memory that a byte of JSON becomes at most: `1,` of a list is a Python float and its place.
_PARSED: Final = 20
#: How long a request waits for memory to decode it.
_MEMORY_WAIT_S: Final = 5.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """`ready` says whether the store answers; `refresh` brings the gauges up to date.

    `scoped_from_ms`: frames created before keep identities without their tenant (indexer/identity.py).
    """

    def __init__(
        self,
        writer: Writer,
        settings: Settings,
        metrics: Metrics,
        *,
        ready: Callable[[], Awaitable[bool]],
        refresh: Callable[[], None],
        hearing: Hearing,
        describe: Callable[[MetadataMessage], Awaitable[int]],
        scoped_from_ms: int = 0,
    ) -> None:
        self._writer = writer
        self._settings = settings
        self._metrics = metrics
        self._ready = ready
        self._refresh = refresh
        self._hearing = hearing
        self._describe = describe
        self._scoped_from_ms = scoped_from_ms
        self._pages = Pages(settings.listen.rpartition(":")[0], settings.http.allowed_hosts)
        self._budget = DecodeBudget(settings.bounds.decode_bytes)

    def app(self) -> web.Application:
        app = web.Application(
            client_max_size=self._settings.bounds.body_bytes, middlewares=[self._guard, self._of_pages]
        )
        app.router.add_post("/v1/frames", self._frames)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post(heartbeat.PATH, self._heartbeat)
        app.router.add_post(metadata.PATH, self._metadata)
        app.router.add_get("/status", self._status)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Tokens, and every failure as the answer the wire format names."""
        if request.path.startswith(("/v1/", "/status")) and not self._authorized(request):
            self._metrics.refused.labels(reason="unauthorized").inc()
            return _error(401, "a bearer token is wanted")
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge:
            self._metrics.refused.labels(reason="too_large").inc()
            return _error(413, f"more than {self._settings.bounds.body_bytes} bytes")
        except web.RequestPayloadError as e:  # not what its Content-Encoding says, or cut short
            self._metrics.refused.labels(reason="bad_body").inc()
            request.content.feed_eof()  # aiohttp reads on otherwise, and logs the same error once more
            response = _error(400, f"the body cannot be read: {e}")
            response.force_close()
            return response
        except Unavailable as e:
            return _error(503, str(e), {"Retry-After": str(e.retry_after_s)})
        except Conflict as e:
            self._metrics.refused.labels(reason="conflict").inc()
            return _error(409, str(e))
        except Refused as e:
            return _error(400, str(e))

    def _authorized(self, request: web.Request) -> bool:
        if not self._settings.tokens:
            return True
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        matches = [hmac.compare_digest(token.encode(), t.encode()) for t in self._settings.tokens]
        return scheme.lower() == "bearer" and any(matches)

    @web.middleware
    async def _of_pages(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what a web page made a browser send (indexer/pages.py)."""
        if request.method not in ("GET", "HEAD"):
            bearer = request.headers.get("Authorization", "").lower().startswith("bearer ")
            checked = bool(self._settings.tokens) and bearer  # a page does not know it
            if not checked and (refusal := self._pages.refusal(request.headers)) is not None:
                self._metrics.refused.labels(reason="web_page").inc()
                return _error(403, refusal)
            if not checked and request.path == "/v1/messages" and not is_json(request.headers):
                self._metrics.refused.labels(reason="content_type").inc()
                return _error(415, f"Content-Type: expected {JSON} for messages without a bearer token")
        return await handler(request)

    async def _frames(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        try:
            size = wire.unpacked_bytes(body, self._settings.bounds.frame_bytes)
            async with self._memory(size):
                large = size > _LARGE_BYTES
                unit = await asyncio.to_thread(self._unit, body) if large else self._unit(body)
        except wire.FrameError as e:
            self._metrics.refused.labels(reason="bad_frame").inc()
            return _error(400, str(e))
        self._hearing.frame(unit.frame)
        self._hearing.rows(unit.frame)
        await self._writer.write(unit)
        return _json({"rows": unit.frame.rows})

    async def _heartbeat(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if len(body) > heartbeat.MAX_BYTES:
            return _error(413, f"more than {heartbeat.MAX_BYTES} bytes")
        try:
            beat = heartbeat.decode(body)
        except heartbeat.HeartbeatError as e:
            self._metrics.heartbeats.labels(outcome="bad").inc()
            return _error(400, str(e))
        if not self._hearing.heartbeat(beat):
            self._metrics.heartbeats.labels(outcome="too_many_agents").inc()
            return _error(429, "too many agents: indexer.bounds.agents", {"Retry-After": "10"})
        self._metrics.heartbeats.labels(outcome="taken").inc()
        return _json({})

    async def _metadata(self, request: web.Request) -> web.Response:
        try:
            message = metadata.decode(await self._body(request))
        except metadata.MetadataError as e:
            self._metrics.refused.labels(reason="bad_metadata").inc()
            return _error(400, str(e))
        try:
            metrics = await self._describe(message)
        except StoreError as e:
            self._metrics.store_errors.labels(retryable=str(e.retryable).lower()).inc()
            raise Unavailable("the store could not take metadata", retry_after_s=5) from e
        self._metrics.metadata.inc(metrics)
        return _json({"metrics": metrics})

    async def _status(self, _: web.Request) -> web.Response:
        return _json({"agents": self._hearing.listing()})

    @asynccontextmanager
    async def _memory(self, size: int) -> AsyncIterator[None]:
        """Reserve memory for decoding. Raises Unavailable when too much is reserved for others."""
        try:
            async with self._budget.reserve(size, _MEMORY_WAIT_S):
                yield
        except TimeoutError:
            self._metrics.refused.labels(reason="decode_memory").inc()
            raise Unavailable("too much is being decoded") from None

    def _unit(self, body: bytes) -> Unit:
        frame = wire.decode(body, self._settings.bounds.frame_bytes)
        check(frame, latest_s=self._latest_s())
        return Unit(frame_identity(frame, self._scoped_from_ms), body, frame, digest=digest(body))

    async def _messages(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        key = request.headers.get("Idempotency-Key") or uuid.uuid4().hex
        if len(key) > _MAX_KEY or "\ufffd" in key:
            return _error(400, f"Idempotency-Key: expected UTF-8 of at most {_MAX_KEY} characters")
        try:
            async with self._memory(_PARSED * len(body)):
                parsed = await asyncio.to_thread(self._parse, body, key)
        except MessagesError as e:
            self._metrics.refused.labels(reason="bad_messages").inc()
            return _error(400, str(e))
        for unit in parsed.units:
            self._hearing.rows(unit.frame)
        await self._write_all(parsed.units)
        self._metrics.messages.labels(outcome="accepted").inc(parsed.accepted)
        self._metrics.messages.labels(outcome="rejected").inc(len(parsed.rejected))
        rejected = [{"position": r.position, "reason": r.reason} for r in parsed.rejected]
        status = 400 if rejected and not parsed.accepted else 200
        return _json({"accepted": parsed.accepted, "rejected": rejected}, status)

    def _parse(self, body: bytes, key: str) -> Parsed:
        return parse(
            body,
            key=key,
            created_ms=time.time_ns() // 1_000_000,
            latest_s=self._latest_s(),
            max_messages=self._settings.bounds.messages,
        )

    async def _write_all(self, units: Sequence[Unit]) -> None:
        """All of them, in one batch if may be; raises the first WriteError after each was tried."""
        results = await asyncio.gather(*(self._writer.write(u) for u in units), return_exceptions=True)
        failures = [r for r in results if isinstance(r, BaseException)]
        failures.sort(key=lambda e: isinstance(e, WriteError))  # what is worse first: a mistake of ours, ...
        if failures:
            raise failures[0]

    async def _body(self, request: web.Request) -> bytes:
        body = await request.read()
        self._metrics.received_bytes.inc(len(body))
        return body

    def _latest_s(self) -> int:
        return int(time.time()) + self._settings.bounds.future_s

    async def _show_metrics(self, _: web.Request) -> web.Response:
        self._refresh()
        return web.Response(
            body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        ready = await self._ready()
        return web.Response(
            text="ready\n" if ready else "the store does not answer\n", status=200 if ready else 503
        )


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json", status=status)


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    response = _json({"error": text}, status)
    response.headers.update(headers or {})
    return response
