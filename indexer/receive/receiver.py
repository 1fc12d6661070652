"""The indexer's HTTP side: takes frames and messages, shows health and metrics.

Owns the answers (docs/wire-format.md): 200 is in ClickHouse, 400 never send it again, 413 too large, 401 and
403 the credential is missing or insufficient (indexer/access/grants.py), 503 with Retry-After send the same
bytes later. All else belongs to the writer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from agent.config.host_port import parse_host_port
from agent.runtime.program_version import VERSION_HEADER, program_version
from agent.wire import bundle, heartbeat, metadata
from agent.wire import frame as wire
from agent.wire.metadata import MetadataMessage
from agent.wire.release import Release, release_of
from agent.wire.restamp import restamped
from indexer.access.grants import EVERYTHING, AccessError, CheckingError, ForbiddenError, Grant, Right
from indexer.agents.completeness import SKEW_MS
from indexer.agents.observer import AgentObserver
from indexer.clickhouse.store import StoreError
from indexer.deletion.running_deletions import RunningDeletion
from indexer.http.authenticator import Authenticator
from indexer.http.paths import DELETIONS, LIMITS
from indexer.http.server import certificate_of
from indexer.http.web_pages import JSON, WebPageRules, is_json
from indexer.metrics import Metrics
from indexer.receive.answers import GRANT, error_answer, grant_of, json_answer
from indexer.receive.bundles import answer_each
from indexer.receive.decode_budget import DecodeBudget
from indexer.receive.deletion_page import Delete, DeletionPage, shown_deletions
from indexer.receive.intake import Intake
from indexer.receive.limits_http import LimitsPage
from indexer.receive.message_intake import LARGE_BYTES, MessageIntake
from indexer.receive.messages import MessagesError
from indexer.receive.named_answers import FRAMES, NamedAnswers
from indexer.receive.pending_requests import PendingRequests
from indexer.receive.set_aside_http import PATH as ASIDE_PATH
from indexer.receive.set_aside_http import SetAsidePages
from indexer.receive.subscription_pages import SubscriptionPages
from indexer.settings import Settings
from indexer.subscriptions.messages_of_subscriptions import SubscriptionWrites
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import Conflict, Limited, TooOld, Unavailable, WriteError
from indexer.write.frame_to_columns import check, count_clamped
from indexer.write.health import SPARED, Part
from indexer.write.identity import digest, frame_identity
from indexer.write.journal_rows import KnownRequest
from indexer.write.set_aside_batches import SetAsideBatches
from indexer.write.split_by_day import last_bucket_s

_MAX_KEY: Final = 200
#: How long a request waits for memory to decode it.
_MEMORY_WAIT_S: Final = 5.0

#: Paths that show no data, and of the process only that it runs.
OPEN: Final = frozenset({"/healthz", "/readyz"})
METRICS: Final = "/metrics"
STATUS: Final = "/status"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ReceiverParts(msgspec.Struct, frozen=True):
    """The parts of the indexer that requests reach, besides the way to the writer.

    `ready` returns the problems by part; `refresh` updates the gauges; `describe` writes metadata and returns
    its number of metrics; `limits` returns those of an org; `subscribe` stores subscriptions and results.
    `pending`, `taken`: known requests of messages.
    `set_aside`: None when batching by frame. `scoped_from_ms`: earlier frames keep identities without their
    tenant (indexer/write/identity.py). `remembers_s`: minimum seconds that a stored frame is known. `delete`:
    None where deletions are off. `deletions`: those that run. `name`: of the indexer, if others may have
    frames that it has not.
    """

    ready: Callable[[], Awaitable[Mapping[Part, str]]]
    refresh: Callable[[], None]
    describe: Callable[[MetadataMessage], Awaitable[int]]
    authenticator: Authenticator
    observer: AgentObserver
    pending: PendingRequests
    taken: Callable[[str], Iterable[KnownRequest]]
    limits: Callable[[int], Mapping[str, int]]
    subscribe: Callable[[SubscriptionWrites], None]
    set_aside: SetAsideBatches | None
    scoped_from_ms: int
    remembers_s: int
    delete: Delete | None = None
    deletions: Callable[[], Sequence[RunningDeletion]] = tuple
    name: str = ""


class Receiver:
    """Answers HTTP requests."""

    def __init__(self, settings: Settings, metrics: Metrics, intake: Intake, parts: ReceiverParts) -> None:
        self._settings = settings
        self._metrics = metrics
        self._intake = intake
        self._parts = parts
        self._limits = LimitsPage(parts.limits)
        self._set_aside = SetAsidePages(parts.set_aside)
        self._subscriptions = SubscriptionPages(parts.subscribe, metrics)
        self._message_intake = MessageIntake(
            settings, metrics, self._memory, self.write_messages, parts.pending, parts.taken
        )
        self._pages = WebPageRules(parse_host_port(settings.listen)[0], settings.http.allowed_hosts)
        self._budget = DecodeBudget(settings.bounds.decode_bytes)

    def app(self) -> web.Application:
        """Return the aiohttp application with all routes."""
        app = web.Application(
            client_max_size=self._settings.bounds.body_bytes,
            middlewares=[NamedAnswers(self._parts.name, self._metrics).answer, self._guard, self._of_pages],
        )
        app.router.add_post(FRAMES, self._frames)
        app.router.add_post(bundle.PATH, self._bundle)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post(heartbeat.PATH, self._heartbeat)
        app.router.add_post(metadata.PATH, self._metadata)
        self._set_aside.add_to(app)
        self._limits.add_to(app)
        self._subscriptions.add_to(app)
        DeletionPage(self._parts.delete).add_to(app)
        app.router.add_get(STATUS, self._status)
        app.router.add_get(METRICS, self._show_metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check the credential, and turn every failure into the answer of the wire format."""
        try:
            await self._admit(request)
            return await handler(request)
        except AccessError as e:
            return self._refuse(e)
        except web.HTTPRequestEntityTooLarge:
            self._metrics.refused.labels(reason="too_large").inc()
            return error_answer(413, f"more than {self._settings.bounds.body_bytes} bytes")
        except web.RequestPayloadError as e:  # a wrong Content-Encoding, or a body cut short
            self._metrics.refused.labels(reason="bad_body").inc()
            request.content.feed_eof()  # aiohttp reads on otherwise, and logs the same error once more
            response = error_answer(400, f"the body cannot be read: {e}")
            response.force_close()
            return response
        except (wire.FrameError, WriteError) as e:
            status, retry_after_s = self._failed(e)
            after = {"Retry-After": str(retry_after_s)} if retry_after_s else None
            return error_answer(status, str(e), after)

    def _failed(self, error: AccessError | wire.FrameError | WriteError) -> tuple[int, int]:
        """Count why a frame or request is not stored; return the status and when to send it again."""
        match error:
            case AccessError():
                return self._refuse(error).status, isinstance(error, CheckingError)
            case wire.FrameError():
                self._metrics.refused.labels(reason="bad_frame").inc()
                return 400, 0
            case Unavailable() | Limited():
                return 503 if isinstance(error, Unavailable) else 429, error.retry_after_s
            case Conflict() | TooOld():
                self._metrics.refused.labels(reason=error.reason).inc(error.counted)
                return 409, 0
            case _:
                return 400, 0

    async def _admit(self, request: web.Request) -> None:
        """Note the grant of the request's credential. Raises AccessError if its path needs another."""
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else ""
        is_open = path in OPEN or (path == METRICS and self._settings.metrics_open)
        if not path or is_open or not self._parts.authenticator.asks:
            return
        grant = await self._parts.authenticator.grant(
            request.headers.getall("Authorization", ()), certificate_of(request)
        )
        if path == DELETIONS:
            grant.require(Right.ADMIN)
        elif path == METRICS:
            grant.require_operator()
        elif path.startswith(ASIDE_PATH):
            grant.require_operator()
            grant.require_all()
        elif path not in (STATUS, LIMITS):  # they show the orgs of the grant
            grant.require(Right.WRITE)
        request[GRANT] = grant

    def _refuse(self, error: AccessError) -> web.Response:
        match error:
            case CheckingError():
                self._metrics.refused.labels(reason="passwords").inc()
                return error_answer(503, str(error), {"Retry-After": "1"})
            case ForbiddenError():
                self._metrics.refused.labels(reason="forbidden").inc()
                return error_answer(403, str(error))
            case _:
                self._metrics.refused.labels(reason="unauthorized").inc()
                return error_answer(
                    401, str(error), {"WWW-Authenticate": self._parts.authenticator.challenge}
                )

    @web.middleware
    async def _of_pages(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse requests that a foreign web page made a browser send (indexer/http/web_pages.py)."""
        if request.method not in ("GET", "HEAD"):
            bearer = request.headers.get("Authorization", "").lower().startswith("bearer ")
            checked = GRANT in request and bearer  # a page does not know it; a browser adds none
            if not checked and (refusal := self._pages.refusal(request.headers)) is not None:
                self._metrics.refused.labels(reason="web_page").inc()
                return error_answer(403, refusal)
            if not checked and request.path == "/v1/messages" and not is_json(request.headers):
                self._metrics.refused.labels(reason="content_type").inc()
                return error_answer(415, f"Content-Type: expected {JSON} for messages without a bearer token")
        return await handler(request)

    async def _frames(self, request: web.Request) -> web.Response:
        release = release_of(request.headers)
        unit = await self._taken(await self._body(request), grant_of(request), release)
        return json_answer(await self._stored(unit))

    async def _bundle(self, request: web.Request) -> web.Response:
        """Answer each frame of a bundle as if it came alone (indexer/receive/bundles.py)."""
        body, grant, release = await self._body(request), grant_of(request), release_of(request.headers)
        try:
            bodies = bundle.decode(body)
        except bundle.BundleError as e:
            self._metrics.refused.labels(reason="bad_bundle").inc()
            return error_answer(400, str(e))
        taken = partial(self._taken, grant=grant, release=release)
        answers = await answer_each(bodies, taken, self._stored, self._failed)
        if all(answer.status == 403 for answer in answers):
            return error_answer(403, answers[0].error)
        return json_answer(bundle.BundleAnswer(answers))

    async def _taken(self, body: bytes, grant: Grant, release: Release) -> AcceptedFrame:
        """Decode and check a frame. Raises FrameError, AccessError, Unavailable."""
        size = wire.unpacked_bytes(body, self._settings.bounds.frame_bytes)
        large = size > LARGE_BYTES
        async with self._memory(size, wire.org_of(body) if large else None):
            unit = await asyncio.to_thread(self._unit, body) if large else self._unit(body)
        grant.require_write(unit.frame.org_id, unit.frame.project_id)
        self._parts.observer.frame(unit.frame)
        self._parts.observer.rows(unit.frame)
        return replace(unit, hop=release.hop, lost_hops=release.lost_hops) if release.hop else unit

    async def _stored(self, unit: AcceptedFrame) -> dict[str, int]:
        """Return the answer to a frame once it is stored. Raises WriteError."""
        expired = await self._intake.write([unit])
        self._parts.observer.stored(unit.frame)
        return {"rows": unit.frame.rows - expired} | ({"expired": expired} if expired else {})

    async def _heartbeat(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if len(body) > heartbeat.MAX_BYTES:
            return error_answer(413, f"more than {heartbeat.MAX_BYTES} bytes")
        try:
            beat = heartbeat.decode(body)
        except heartbeat.HeartbeatError as e:
            self._metrics.heartbeats.labels(outcome="bad").inc()
            return error_answer(400, str(e))
        grant_of(request).require_write(beat.org_id, beat.project_id)
        if not self._parts.observer.heartbeat(beat):
            self._metrics.heartbeats.labels(outcome="too_many_agents").inc()
            return error_answer(429, "too many agents: indexer.bounds.agents", {"Retry-After": "10"})
        self._metrics.heartbeats.labels(outcome="taken").inc()
        return json_answer(heartbeat.HeartbeatAnswer(self._parts.observer.now_ms(), self._parts.remembers_s))

    async def _metadata(self, request: web.Request) -> web.Response:
        try:
            message = metadata.decode(await self._body(request))
        except metadata.MetadataError as e:
            self._metrics.refused.labels(reason="bad_metadata").inc()
            return error_answer(400, str(e))
        grant_of(request).require_write(message.org_id, message.project_id)
        try:
            metrics = await self._parts.describe(message)
        except StoreError as e:
            self._metrics.store_failed(e)
            raise Unavailable(f"metadata: {e.told}", retry_after_s=5) from e
        self._metrics.metadata.inc(metrics)
        return json_answer({"metrics": metrics})

    async def _status(self, request: web.Request) -> web.Response:
        grant = grant_of(request)
        shows = EVERYTHING.covers if grant.operates else grant.covers
        deletions = shown_deletions(self._parts.deletions(), grant)
        return json_answer({"agents": self._parts.observer.listing(shows), "deletions": deletions})

    @asynccontextmanager
    async def _memory(self, size: int, org_id: int | None = None) -> AsyncIterator[None]:
        """Reserve memory for decoding, and for a large body a turn of its org.

        Raises Unavailable if others hold too much.
        """
        try:
            async with self._budget.reserve(size, _MEMORY_WAIT_S, org_id):
                yield
        except TimeoutError:
            self._metrics.refused.labels(reason="decode_memory").inc()
            raise Unavailable("too much is being decoded") from None

    def _unit(self, body: bytes) -> AcceptedFrame:
        came = wire.decode(body, self._settings.bounds.frame_bytes)
        frame = self._of_the_present(came)
        check(frame, latest_s=self._latest_s())
        self._metrics.saturated.inc(count_clamped(frame))
        stored = body if frame is came else wire.encode(frame)
        return AcceptedFrame(
            frame_identity(frame, self._parts.scoped_from_ms), stored, frame, digest=digest(body)
        )

    def _of_the_present(self, frame: wire.Frame) -> wire.Frame:
        """Return the frame with rows moved back that are ahead only because of its agent's clock.

        Agents that know our time make no such frames: these were made before they heard of it.
        """
        now_ms, future_ms = self._parts.observer.now_ms(), self._settings.bounds.future_s * 1000
        ahead_ms, last_ms = frame.created_ms - now_ms, last_bucket_s(frame) * 1000
        if ahead_ms <= SKEW_MS or not now_ms + future_ms < last_ms <= frame.created_ms + future_ms:
            return frame
        frame, moved = restamped(frame, now_ms, future_ms, ahead_ms)
        self._metrics.moved_rows.inc(moved)
        return frame

    async def _messages(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        key = request.headers.get("Idempotency-Key", "")
        if len(key) > _MAX_KEY or "\ufffd" in key:
            return error_answer(400, f"Idempotency-Key: expected UTF-8 of at most {_MAX_KEY} characters")
        try:
            status, answer = await self._message_intake.take(body, key, grant_of(request))
        except MessagesError as e:
            self._metrics.refused.labels(reason="bad_messages").inc()
            return error_answer(400, str(e))
        return json_answer(answer, status)

    async def take_messages(self, body: bytes, key: str) -> tuple[int, bytes]:
        """Return status and body of the answer to messages of this process itself."""
        try:
            status, answer = await self._message_intake.take(body, key, EVERYTHING)
        except (MessagesError, WriteError) as e:
            status, answer = 400 if isinstance(e, MessagesError) else self._failed(e)[0], {"error": str(e)}
        return status, msgspec.json.encode(answer)

    async def write_messages(self, units: Sequence[AcceptedFrame]) -> None:
        """Write frames of messages. Raises WriteError."""
        for unit in units:
            self._metrics.saturated.inc(count_clamped(unit.frame))
            self._parts.observer.rows(unit.frame)
        await self._intake.write(units)

    async def _body(self, request: web.Request) -> bytes:
        body = await request.read()
        self._metrics.received_bytes.inc(len(body))
        return body

    def _latest_s(self) -> int:
        return int(time.time()) + self._settings.bounds.future_s

    async def _show_metrics(self, _: web.Request) -> web.Response:
        self._parts.refresh()
        return web.Response(
            body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        problems = await self._parts.ready()
        stops = problems.keys() - SPARED
        lines = [] if stops else ["ready"]
        lines += [f"{part.value}: {text}" for part, text in problems.items()]
        headers = {VERSION_HEADER: program_version()}
        return web.Response(text="\n".join(lines) + "\n", status=503 if stops else 200, headers=headers)
