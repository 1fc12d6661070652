"""Results of subscriptions in a Redis stream, each once, and as webhooks, each at least once."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from aiohttp import web

from indexer.clickhouse.schema import Retention
from indexer.clickhouse.schema.subscription_tables import RESULTS
from indexer.clickhouse.store import Store
from indexer.deletion.deletion_request import DeletionBusyError
from indexer.deletion.mutations import Mutations
from indexer.subscriptions.messages_of_subscriptions import (
    SentTick,
    Subscription,
    SubscriptionWrites,
    TickResult,
)
from indexer.subscriptions.subscription_rows import SubscriptionWriter, read_sent_ticks
from shim.metrics import ShimMetrics
from shim.model.errors import BadData, Unavailable
from shim.notify.signed_webhook import SignedWebhook
from shim.settings import ShimSettings, SubscriptionSettings, WebhookSettings
from shim.subscriptions.remote_writes import local_writes
from shim.subscriptions.result_delivery import MAX_OF_ORG, ResultDelivery
from shim.subscriptions.result_sink import ResultSink, SinkAwayError
from shim.subscriptions.result_stream import ResultStream
from shim.subscriptions.result_webhooks import ResultWebhooks
from shim.subscriptions.webhook_rules import WebhookRules
from shim.ticks.lease import SoleEvaluator
from tests.support.redis_server import RedisServer
from tests.support.told_time import skewed_clock
from tests.support.worlds import embedded

T: Final = int(time.time()) // 60 * 60 - 3_600
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
SECRET: Final = "a secret of 16 bytes or more"


@dataclass
class World:
    """A store with results of subscriptions, and a clock."""

    store: Store
    now_s: float = T + 20_000.0
    back_s: float = 0.0  # that the wall clock was set back
    metrics: ShimMetrics = field(default_factory=ShimMetrics)

    def __post_init__(self) -> None:
        self.write = local_writes(SubscriptionWriter(self.store, 100, lambda: int(self.now_s * 1000)))

    def subscribe(self, number: int, webhook: str = "", org_id: int = 1) -> Subscription:
        made = Subscription(
            org_id=org_id, project_id=2, id=f"{number:032x}", dataset="metrics", entity="metrics_counters",
            query="q", time_window_s=60, resolution_s=60, since_s=T, webhook=webhook,
        )  # fmt: skip
        self.write(SubscriptionWrites(put=[made]))
        return made

    def evaluated(self, of: Subscription, ticks: range) -> None:
        """Store results of the ticks number `ticks`."""
        results = [
            TickResult(
                org_id=of.org_id, project_id=2, id=of.id, tick_s=T + 60 * n, payload=json.dumps([of.id, n])
            )
            for n in ticks
        ]
        self.write(SubscriptionWrites(results=results))

    def delivery(self, sink: ResultSink, max_late_ticks: int = 1_000) -> ResultDelivery:
        """Return the delivery of a shim that has just started."""
        settings = SubscriptionSettings(max_late_ticks=max_late_ticks)
        return ResultDelivery(
            self.store, sink, SoleEvaluator(), settings, self.metrics, now_s=lambda: self.now_s
        )

    def counted(self, sink: str, outcome: str) -> float | None:
        labels = {"sink": sink, "outcome": outcome}
        return self.metrics.registry.get_sample_value("meterhouse_shim_subscription_deliveries_total", labels)


@pytest.fixture
def w(chdb_path: Path) -> Iterator[World]:
    with embedded(chdb_path, "delivered") as store:
        yield World(store)


# ---------------------------------------------------------------- the stream


class Stream:
    """A reader of the stream, and sinks of several shims."""

    def __init__(
        self, server: RedisServer, metrics: ShimMetrics, now_s: Callable[[], float] = time.time
    ) -> None:
        self._now_s = now_s
        self._settings = SubscriptionSettings(stream_url=server.url, stream="results")
        self._metrics = metrics
        self._redis: Any = redis.Redis.from_url(server.url, decode_responses=True)
        self._sinks: list[ResultStream] = []

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        for sink in self._sinks:
            await sink.close()
        self._redis.close()

    def sink(self) -> ResultStream:
        self._sinks.append(ResultStream(self._settings, self._metrics, self._now_s))
        return self._sinks[-1]

    def entries(self) -> list[tuple[str, dict[str, str]]]:
        found: list[tuple[str, dict[str, str]]] = self._redis.xrange("results")
        return found

    def ticks(self, of: Subscription) -> list[int]:
        """Return the numbers of a subscription's ticks, in the order of the stream."""
        documents = [json.loads(fields["message"]) for _, fields in self.entries()]
        return [number for id_, number in documents if id_ == of.id]


async def test_each_result_is_in_the_stream_once(w: World, redis_server: RedisServer) -> None:
    async with Stream(redis_server, w.metrics) as stream:
        a, b = w.subscribe(1), w.subscribe(2)
        w.evaluated(a, range(1, 251))
        w.evaluated(b, range(1, 4))
        shims = [w.delivery(stream.sink()) for _ in range(2)]
        await asyncio.gather(*(shim.round() for shim in shims))  # no lease: both deliver the same
        assert stream.ticks(a) == list(range(1, 101))
        redis_server.signal(signal.SIGSTOP)
        with pytest.raises(SinkAwayError):
            await shims[0].round()
        redis_server.signal(signal.SIGCONT)  # it then reads the calls of before
        w.evaluated(b, range(4, 7))
        for shim in (*shims, w.delivery(stream.sink()), w.delivery(stream.sink())):
            await shim.round()
        assert stream.ticks(a) == list(range(1, 251))
        assert stream.ticks(b) == list(range(1, 7))
        assert w.counted("stream", "delivered") == 256
        first_id, first = stream.entries()[0]
        assert first_id.startswith(f"{(T + 60) * 1000}-")
        assert first["id"] == f"0/{first['message'][2:34]}/{T + 60}"


async def test_a_late_tick_keeps_its_place_in_the_order_of_arrival(
    w: World, redis_server: RedisServer
) -> None:
    """Ids of a stream grow: an older tick has the millisecond of the entry before it."""
    async with Stream(redis_server, w.metrics) as stream:
        a, b = w.subscribe(1), w.subscribe(2)
        w.evaluated(a, range(5, 6))
        shim = w.delivery(stream.sink())
        await shim.round()
        w.evaluated(b, range(1, 3))
        w.evaluated(a, range(6, 7))
        await shim.round()
        assert (stream.ticks(a), stream.ticks(b)) == ([5, 6], [1, 2])
        ids = {fields["id"].rpartition("/")[2]: id_ for id_, fields in stream.entries()}
        assert ids[str(T + 60)].partition("-")[0] in (f"{(T + 300) * 1000}", f"{(T + 360) * 1000}")


async def test_only_the_latest_of_late_results_are_delivered(w: World, redis_server: RedisServer) -> None:
    async with Stream(redis_server, w.metrics) as stream:
        of = w.subscribe(1)
        w.evaluated(of, range(1, 3))
        shim = w.delivery(stream.sink(), max_late_ticks=5)
        await shim.round()
        w.evaluated(of, range(3, 21))
        await shim.round()
        assert stream.ticks(of) == [1, 2, *range(16, 21)]
        assert w.counted("stream", "skipped") == 13


async def test_the_stream_goes_on_after_a_clock_that_was_ahead(w: World, redis_server: RedisServer) -> None:
    async with Stream(redis_server, w.metrics, lambda: w.now_s) as stream:
        of = w.subscribe(1)
        w.now_s = T + 3_600 + 5.0
        w.evaluated(of, range(58, 61))
        await w.delivery(stream.sink()).round()
        w.now_s = T + 60 + 5.0
        shim = w.delivery(stream.sink())
        await shim.round()
        for number in (2, 3):
            w.now_s += 60
            w.evaluated(of, range(number, number + 1))
            await shim.round()
            await w.delivery(stream.sink()).round()
        assert stream.ticks(of) == [58, 59, 60, 2, 3]


async def test_a_shim_that_is_seconds_late_repeats_nothing(w: World, redis_server: RedisServer) -> None:
    """Clocks of two shims differ by a little; the lease comes back to the one that had it before."""
    async with Stream(redis_server, w.metrics, lambda: w.now_s) as stream, _receiver() as receiver:
        async with _webhooks(w, "127.0.0.1:*") as webhooks:
            of = w.subscribe(1, receiver.url)
            receiver.keys = {of.id: webhooks.rules.key(of.id)}
            late = [w.delivery(stream.sink()), w.delivery(webhooks)]
            right = [w.delivery(stream.sink()), w.delivery(webhooks)]
            for now_s, shim, ticks in ((65, late, (1, 2)), (181, right, (2, 4)), (179, late, (0, 0))):
                w.now_s = T + now_s
                w.evaluated(of, range(*ticks))
                for sink in shim:
                    await sink.round()
        assert (stream.ticks(of), receiver.ticks(of)) == ([1, 2, 3], [1, 2, 3])


# ---------------------------------------------------------------- webhooks


@dataclass
class Receiver:
    """A server of webhooks that answers with the statuses it is told, then 204."""

    statuses: list[int] = field(default_factory=list)
    got: list[tuple[str, Any]] = field(default_factory=list)
    keys: Mapping[str, bytes] = field(default_factory=dict)
    url: str = ""
    spoiled: frozenset[int] = frozenset()  # ticks that are answered with 500
    hangs: asyncio.Event | None = None  # the answer waits for it
    began: list[str] = field(default_factory=list)
    full: asyncio.Event = field(default_factory=asyncio.Event)  # one org has all its places, another one

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        id_, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        signed = f"{id_}.{at}.".encode() + body
        key = self.keys[id_.partition("-")[0]]
        expected = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        assert request.headers["webhook-signature"] == f"v1,{expected}"
        self.began.append(id_.partition("-")[0])
        if len(self.began) == MAX_OF_ORG + 1:
            self.full.set()
        if self.hangs is not None:
            await self.hangs.wait()
        self.got.append((id_, json.loads(body)))
        status = self.statuses.pop(0) if self.statuses else 204
        status = 500 if self.got[-1][1][1] in self.spoiled else status
        return web.Response(status=status, headers={"Location": self.url} if status == 302 else None)

    def ticks(self, of: Subscription) -> list[int]:
        assert all(id_ == f"{sub}-{T + 60 * n}" for id_, (sub, n) in self.got)
        return [n for _, (sub, n) in self.got if sub == of.id]


@asynccontextmanager
async def _receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/in", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    receiver.url = f"http://127.0.0.1:{port}/in"
    yield receiver
    await runner.cleanup()


def _rules(*hosts: str) -> WebhookRules:
    return WebhookRules(
        ShimSettings(
            subscriptions=SubscriptionSettings(webhook_secret=SECRET),
            webhooks=WebhookSettings(allowed_hosts=list(hosts)),
        )
    )


@asynccontextmanager
async def _webhooks(w: World, *hosts: str) -> AsyncIterator[ResultWebhooks]:
    rules = _rules(*hosts)
    webhook = SignedWebhook(rules.allowed, timeout_s=5.0)
    sink = ResultWebhooks(
        w.store, w.write, rules, webhook, 86_400.0, w.metrics,
        now_s=lambda: w.now_s, steady_s=lambda: w.now_s + w.back_s,
    )  # fmt: skip
    yield sink
    await sink.close()


async def test_each_result_is_sent_in_order_and_again_after_failures(w: World) -> None:
    async with _receiver() as receiver, _webhooks(w, "127.0.0.1:*") as sink:
        of, silent = w.subscribe(1, receiver.url), w.subscribe(2)
        receiver.keys = {of.id: sink.rules.key(of.id)}
        w.evaluated(of, range(1, 4))
        w.evaluated(silent, range(1, 4))
        receiver.statuses = [204, 503]
        shim = w.delivery(sink)
        await shim.round()
        assert receiver.ticks(of) == [1, 2]
        await shim.round()  # it waits a second first
        assert receiver.ticks(of) == [1, 2]
        w.now_s += 1.5
        await shim.round()
        assert receiver.ticks(of) == [1, 2, 2, 3]
        w.evaluated(of, range(4, 6))
        async with _webhooks(w, "127.0.0.1:*") as restarted:
            await w.delivery(restarted).round()  # another shim goes on from the stored progress
        assert receiver.ticks(of) == [1, 2, 2, 3, 4, 5]
        assert w.counted("webhook", "delivered") == 5


async def test_a_clock_that_was_ahead_stops_no_delivery(w: World) -> None:
    """By an hour: the pause after a failure, and ticks that were sent, lie ahead of the clock then."""
    async with _receiver() as receiver, _webhooks(w, "127.0.0.1:*") as sink:
        of = w.subscribe(1, receiver.url)
        receiver.keys = {of.id: sink.rules.key(of.id)}
        w.now_s = T + 3_600 + 5.0
        w.evaluated(of, range(58, 61))
        receiver.statuses = [204, 204, 503]
        shim = w.delivery(sink)
        await shim.round()
        assert receiver.ticks(of) == [58, 59, 60]
        w.now_s, w.back_s = T + 60 + 5.0, 3_540.0 + 2.0
        await shim.round()
        w.now_s += 60
        w.evaluated(of, range(2, 3))
        await shim.round()
        async with _webhooks(w, "127.0.0.1:*") as restarted:
            shim = w.delivery(restarted)
            await shim.round()
            w.now_s += 60
            w.evaluated(of, range(3, 4))
            await shim.round()
        assert receiver.ticks(of) == [58, 59, 60, 2, 3]


async def test_progress_of_a_clock_that_was_ahead_is_forgotten(w: World) -> None:
    """A shim that starts later sends each later result once, and none again."""
    async with _receiver() as receiver, _webhooks(w, "127.0.0.1:*") as sink:
        of = w.subscribe(1, receiver.url)
        receiver.keys = {of.id: sink.rules.key(of.id)}
        w.now_s = T + 60 + 5.0
        w.evaluated(of, range(1, 2))
        await w.delivery(sink).round()
        w.now_s = T + 3_600 + 5.0
        w.evaluated(of, range(58, 61))
        await w.delivery(sink).round()
        w.now_s = T + 120 + 5.0
        w.write(SubscriptionWrites(ahead=[SentTick(org_id=1, project_id=2, id=of.id, tick_s=T + 3_600)]))
        w.evaluated(of, range(2, 3))
        w.now_s += 60
        await w.delivery(sink).round()
        w.evaluated(of, range(3, 4))
        await w.delivery(sink).round()
        assert receiver.ticks(of) == [1, 58, 59, 60, 2, 3]


def test_progress_is_kept_when_results_cannot_be_deleted_in_time(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the webhook would get all results once more."""
    ended = Mutations.wait

    def wait(self: Mutations, max_s: float) -> None:
        ended(self, max_s)
        if RESULTS in self._tables:
            raise DeletionBusyError("rows were not deleted in 30 s")

    monkeypatch.setattr(Mutations, "wait", wait)
    of = w.subscribe(1, "http://receiver.test/")
    w.now_s = T + 3_600 + 5.0
    w.evaluated(of, range(1, 61))
    last = SentTick(org_id=1, project_id=2, id=of.id, tick_s=T + 3_600)
    w.write(SubscriptionWrites(sent=[last]))
    w.now_s = T + 120 + 5.0
    with pytest.raises(Unavailable, match="the subscription cannot be stored"):
        w.write(SubscriptionWrites(ahead=[last]))
    assert read_sent_ticks(w.store, [of]) == {of.id: T + 120}


async def test_shims_whose_clocks_differ_deliver_each_result_once(w: World) -> None:
    """A lease moves between shims that are an hour late, right, and two days ahead."""
    async with _receiver() as receiver, _webhooks(w, "127.0.0.1:*") as sink:
        of = w.subscribe(1, receiver.url)
        receiver.keys = {of.id: sink.rules.key(of.id)}
        w.now_s = T + 7_200.0
        for number, skew_s in enumerate((0.0, -3_600.0, 2 * 86_400.0, -3_600.0, 0.0), 110):
            w.evaluated(of, range(number, number + 1))
            clock = skewed_clock(lambda: w.now_s, skew_s)
            shim = w.delivery(sink)
            shim.now_s = sink.now_s = clock.told_s
            await shim.round()
            await shim.round()
        assert receiver.ticks(of) == list(range(110, 115))
        assert w.counted("webhook", "delivered") == 5


async def test_receivers_that_hang_delay_their_own_org_alone(w: World) -> None:
    """An org with more subscriptions than it has places: the other org's turn is in the same round."""
    async with _receiver() as receiver, _webhooks(w, "127.0.0.1:*") as sink:
        receiver.hangs = asyncio.Event()
        slow = [w.subscribe(n, receiver.url) for n in range(1, MAX_OF_ORG + 4)]
        other = w.subscribe(100, receiver.url, org_id=2)
        receiver.keys = {of.id: sink.rules.key(of.id) for of in (*slow, other)}
        for of in (*slow, other):
            w.evaluated(of, range(1, 2))
        shim = w.delivery(sink)
        await shim.begin()
        async with asyncio.timeout(120):
            await receiver.full.wait()
        assert other.id in receiver.began
        receiver.hangs.set()
        await shim.round()
        await shim.round()
        assert {sub for _, (sub, _) in receiver.got} == {of.id for of in (*slow, other)}


async def test_results_that_are_refused_or_old_are_given_up(w: World) -> None:
    async with _receiver() as receiver, _webhooks(w, "127.0.0.1:*") as sink:
        of, foreign = w.subscribe(1, receiver.url), w.subscribe(2, "http://10.1.2.3/in")
        receiver.keys = {of.id: sink.rules.key(of.id)}
        w.evaluated(of, range(1, 5))
        w.evaluated(foreign, range(1, 2))
        w.now_s = T + 60 + 86_401.0
        receiver.statuses = [302, 410]
        await w.delivery(sink).round()
        assert receiver.ticks(of) == [2, 3, 4]  # a redirect is not followed, and not tried again
        assert w.counted("webhook", "skipped") == 2
        assert w.counted("webhook", "refused") == 2
        assert w.counted("webhook", "delivered") == 1


async def test_a_result_that_fails_for_ever_holds_up_the_next_ones_for_a_while(w: World) -> None:
    async with _receiver() as receiver, _webhooks(w, "127.0.0.1:*") as sink:
        of, other = w.subscribe(1, receiver.url), w.subscribe(2, receiver.url)
        receiver.keys = {one.id: sink.rules.key(one.id) for one in (of, other)}
        w.evaluated(of, range(1, 6))
        w.evaluated(other, range(1, 3))
        shim = w.delivery(sink)
        receiver.spoiled = frozenset({1, 2, 3, 4, 5})
        for _ in range(8):  # it takes no result: all of them wait
            await shim.round()
            w.now_s += 301
        assert set(receiver.ticks(of)) == {1, 2, 3, 4}
        assert w.counted("webhook", "given_up") is None
        receiver.spoiled = frozenset({1, 2})
        receiver.got.clear()
        await shim.round()
        assert receiver.ticks(of) == [1, 2, 3, 4, 5]
        assert receiver.ticks(other) == [1, 2]
        assert w.counted("webhook", "given_up") == 2
        w.evaluated(of, range(6, 8))
        await shim.round()
        assert receiver.ticks(of) == [1, 2, 3, 4, 5, 6, 7]


async def test_failures_of_removed_subscriptions_are_forgotten(w: World) -> None:
    async with _receiver() as receiver, _webhooks(w, "127.0.0.1:*") as sink:
        these = [w.subscribe(number, receiver.url) for number in range(1, 5)]
        receiver.keys = {of.id: sink.rules.key(of.id) for of in these}
        receiver.statuses = [503] * 4
        for of in these:
            w.evaluated(of, range(1, 2))
        shim = w.delivery(sink)
        await shim.round()
        assert len(sink._failing) == 4
        for of in these[:3]:
            w.write(SubscriptionWrites(remove=[of]))
        await shim.round()
        assert set(sink._failing) == {these[3].id}


def test_which_urls_are_accepted() -> None:
    rules = _rules("hooks.example", "*.example.org")
    rules.check("http://hooks.example/x")
    rules.check("http://a.example.org/x")
    for url in ("http://127.0.0.1/x", "ftp://hooks.example/", "http://hooks.example:81/", "nonsense"):
        with pytest.raises(BadData, match=r"^webhook: "):
            rules.check(url)
    with pytest.raises(BadData, match=r"shim\.subscriptions\.webhook_secret is not set"):
        WebhookRules(ShimSettings()).check("http://hooks.example/x")
    assert rules.secret("a") != rules.secret("b")
    assert base64.b64decode(rules.secret("a").removeprefix("whsec_")) == rules.key("a")
