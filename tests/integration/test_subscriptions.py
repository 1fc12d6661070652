"""Subscriptions: made over HTTP, stored by the indexer, evaluated once per tick, by several shims too."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.store import Store, open_store
from indexer.service import IndexerService
from indexer.settings import Bounds, JournalSettings, Settings
from indexer.subscriptions.messages_of_subscriptions import Subscription, SubscriptionWrites
from indexer.subscriptions.subscription_rows import SubscriptionWriter
from shim.catalog import Catalog
from shim.engine.live_edge import LiveEdge
from shim.metrics import ShimMetrics
from shim.model.errors import BadData, Unavailable
from shim.model.tenancy import TenancySettings, Tenant
from shim.service import ShimService
from shim.settings import IndexersSettings, ShimSettings, SubscriptionSettings, WebhookSettings
from shim.snql.lower import Asked
from shim.snql.service import Languages
from shim.subscriptions.remote_writes import Write, local_writes
from shim.subscriptions.subscription_book import SubscriptionBook
from shim.subscriptions.subscription_evaluator import SubscriptionEvaluator
from shim.subscriptions.validators import Wanted
from shim.ticks.redis_lease import RedisLease
from tests.support.clickhouse_http import READER
from tests.support.pipeline import Pipeline
from tests.support.redis_server import RedisServer
from tests.support.told_time import skewed_clock

#: A whole minute of the last hour: older results expire.
T: Final = int(time.time()) // 60 * 60 - 3_600
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
QUERY: Final = (
    "MATCH (metrics_counters) SELECT sum(value) AS n BY tags[route] AS route WHERE metric_id = 'hits'"
)
BODY: Final = {"query": QUERY, "time_window": 120, "resolution": 60, "project_id": 1}
PATH: Final = "/metrics/metrics_counters/subscriptions"


class World:
    """A store with a hit every 10 s for ten minutes from T on, and a clock."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now_s = float(T + 5)
        self.pipeline = Pipeline.open(store, (T + 700) * 1000, retention=KEPT)
        self.pipeline.send([f"hits:{1 + n % 6}|c|#route:/a|T{T + 10 * n}" for n in range(60)])
        self.settings = ShimSettings(retention=KEPT, subscriptions=SubscriptionSettings(max_late_ticks=8))
        self.languages = Languages(self.pipeline.engine, Catalog(store, self.settings), self.settings)
        self.write = local_writes(SubscriptionWriter(store, 3, lambda: int(self.now_s * 1000)))
        self.book = SubscriptionBook(store, self.write, 1 << 16, lambda: self.now_s)
        self.tenant = Tenant(1, 1)

    def add(self, query: str = QUERY, resolution_s: int = 60) -> Subscription:
        asked = Asked(self.tenant, 0)
        return self.book.add(Wanted("metrics_counters", query, 120, resolution_s, asked))

    def shim(self, write: Write | None = None, settle_s: float = 5.0) -> SubscriptionEvaluator:
        """Return the evaluator of a shim that has just started."""
        return SubscriptionEvaluator(
            self.store, self.languages, LiveEdge(settle_s), write or self.write, self.settings,
            ShimMetrics(), now_s=lambda: self.now_s, forget_wait_s=240,
        )  # fmt: skip

    def results(self, of: Subscription) -> dict[int, list[dict[str, Any]]]:
        """Return the data of each tick, by its seconds after T; every tick has one result."""
        payloads = [json.loads(one)["payload"] for one in self.book.results(of, 1_000)]
        found = {_seconds(one["timestamp"]): one["result"]["data"] for one in reversed(payloads)}
        assert len(found) == len(payloads)
        return found

    def rows(self) -> int:
        ((rows,),) = self.store.rows("SELECT count() FROM subscription_results")
        return int(rows)


def _seconds(timestamp: str) -> int:
    return int(datetime.fromisoformat(timestamp).timestamp()) - T


@contextmanager
def _world(dsn: str) -> Iterator[World]:
    store = open_store(dsn, pool=6)
    migrate(store, KEPT)
    world = World(store)
    try:
        yield world
    finally:
        world.pipeline.close()
        store.command(f"DROP DATABASE IF EXISTS {store.database} SYNC")
        store.close()


@pytest.fixture
def embedded(chdb_path: Path) -> Iterator[World]:
    with _world(f"chdb://{chdb_path}?database=subscribed") as world:
        yield world


@pytest.fixture(params=["embedded", "http"])
def w(request: pytest.FixtureRequest, chdb_path: Path) -> Iterator[World]:
    dsn = f"chdb://{chdb_path}?database=subscribed"
    if request.param == "http":
        dsn = request.getfixturevalue("http_dsn")
    with _world(dsn) as world:
        yield world


async def test_a_tick_is_evaluated_when_its_buckets_are_complete(w: World) -> None:
    of, shim = w.add(), w.shim()
    assert await shim.round() == 0  # the first tick after its making is T + 60
    w.now_s = T + 60 + 4.9  # the bucket before the tick may still be written to
    assert await shim.round() == 0
    w.now_s = T + 60 + 5
    assert await shim.round() == 1
    assert await shim.round() == 0
    w.now_s = T + 180 + 6
    assert await shim.round() == 2
    assert w.results(of) == {
        60: [{"route": "/a", "n": 21.0}],
        120: [{"route": "/a", "n": 42.0}],
        180: [{"route": "/a", "n": 42.0}],
    }
    payload = json.loads(w.book.results(of, 1)[0])
    assert payload["version"] == 3
    assert payload["payload"] == {
        "subscription_id": f"0/{of.id}",
        "request": {"query": QUERY, "time_window": 120, "resolution": 60,
                    "tenant_ids": {"organization_id": 1, "project_id": 1}},
        "result": {"data": [{"route": "/a", "n": 42.0}],
                   "meta": [{"name": "route", "type": "String"}, {"name": "n", "type": "Float64"}]},
        "timestamp": datetime.fromtimestamp(T + 180, UTC).isoformat(),
        "entity": "metrics_counters",
    }  # fmt: skip


async def test_a_tick_has_one_result_over_shims_and_restarts(w: World) -> None:
    """Two shims evaluate the same ticks at once: both write, and one result is kept."""
    of = w.add()
    w.now_s = T + 300 + 5
    at_once = threading.Barrier(2, timeout=120)

    def together(writes: SubscriptionWrites) -> None:
        at_once.wait()  # both have evaluated before one has stored
        w.write(writes)

    both = await asyncio.gather(w.shim(together).round(), w.shim(together).round())
    assert list(both) == [5, 5]
    before = w.results(of)
    assert list(before) == [60, 120, 180, 240, 300]
    w.pipeline.send([f"hits:1000|c|#route:/a|T{T + 30}"], agent="late")
    restarted = w.shim()
    assert await restarted.round() == 0
    w.store.command("OPTIMIZE TABLE subscription_results FINAL")
    assert w.results(of) == before


async def test_of_two_shims_one_evaluates(embedded: World, redis_server: RedisServer) -> None:
    """The holder of the leases; the other goes on at once when it stops, and both wait while Redis hangs."""
    w, of = embedded, embedded.add()
    w.now_s = T + 120 + 5
    first, second = (RedisLease(redis_server.url, 60.0, ShimMetrics()) for _ in range(2))
    holder, waiting = w.shim(), w.shim()
    holder.lease, waiting.lease = first, second
    assert await holder.round() == 2
    w.now_s = T + 180 + 5
    assert await waiting.round() == 0
    await first.close()
    assert await waiting.round() == 1
    await second.close()
    redis_server.stop()
    w.now_s = T + 240 + 5
    assert await waiting.round() == 0
    redis_server.start()
    third = RedisLease(redis_server.url, 60.0, ShimMetrics())
    waiting.lease = third
    assert await waiting.round() == 1
    await third.close()
    assert list(w.results(of)) == [60, 120, 180, 240]
    assert w.rows() == 4


async def test_a_shim_that_fails_to_store_goes_on_later_without_a_gap(w: World) -> None:
    of = w.add()
    w.now_s = T + 300 + 5

    def lost(_: SubscriptionWrites) -> None:
        raise Unavailable("the indexer is away")

    with pytest.raises(Unavailable):
        await w.shim(lost).round()
    assert w.results(of) == {}

    def stored_but_unanswered(writes: SubscriptionWrites) -> None:
        w.write(writes)
        raise Unavailable("the connection ended")

    shim = w.shim(stored_but_unanswered)
    with pytest.raises(Unavailable):
        await shim.round()
    shim.write = w.write
    assert await shim.round() == 0  # it sees that the ticks are stored
    w.now_s = T + 420 + 5
    assert await shim.round() == 2
    assert len(w.results(of)) == 7 == w.rows()


async def test_late_ticks_are_caught_up_to_a_bound(embedded: World) -> None:
    of, shim = embedded.add(), embedded.shim()
    embedded.now_s = T + 600 + 5  # ten ticks, of which eight are caught up
    assert await shim.round() == 8
    assert min(embedded.results(of)) == 180
    skipped = shim.metrics.registry.get_sample_value(
        "meterhouse_shim_subscription_ticks_total", {"outcome": "skipped"}
    )
    assert skipped == 2


async def test_a_clock_that_was_ahead_stops_no_subscription(embedded: World) -> None:
    """By an hour, when a subscription was made, or when ticks were evaluated; the shim may start anew."""
    old, shim = embedded.add(), embedded.shim()
    embedded.now_s = T + 3_600 + 5
    made = embedded.add()
    assert await shim.round() == 8
    assert embedded.results(old)[300 + 3_300] == []
    embedded.now_s = T + 40
    for each in (shim, embedded.shim()):
        assert await each.round() == 0
        embedded.now_s += 60
        assert await each.round() >= 1
    for seconds in (60, 120):
        assert embedded.results(old)[seconds] == [{"route": "/a", "n": 21.0 * seconds / 60}]
    assert embedded.results(made)[120] == [{"route": "/a", "n": 42.0}]


@pytest.mark.parametrize("restarts", [False, True])
async def test_ticks_that_a_clock_ahead_had_evaluated_come_once_more(w: World, restarts: bool) -> None:
    """Each tick of the time ahead has a result by then, of data that is not there yet."""
    of, shim = w.add(), w.shim()
    w.now_s = T + 300 + 5
    assert await shim.round() == 5
    w.now_s = T + 40
    w.pipeline.send([f"hits:1000|c|#route:/a|T{T + 50}"], agent="late")
    shim = w.shim() if restarts else shim
    assert await shim.round() == 0
    assert w.results(of) == {}
    for seconds in (60, 120):
        w.now_s = T + seconds + 5
        assert await shim.round() == 1
    assert w.results(of) == {60: [{"route": "/a", "n": 1021.0}], 120: [{"route": "/a", "n": 1042.0}]}


async def test_results_ahead_that_cannot_be_deleted_delay_their_own_subscription_alone(
    embedded: World,
) -> None:
    """A user without the right to delete: other subscriptions, and those of other orgs, go on."""

    def refusing(writes: SubscriptionWrites) -> None:
        if writes.ahead:
            raise Unavailable("the subscription cannot be stored: Not enough privileges")
        embedded.write(writes)

    of = embedded.add()
    embedded.now_s = T + 300 + 5
    assert await embedded.shim().round() == 5
    embedded.now_s = T + 40
    other = embedded.add()
    embedded.now_s = T + 60 + 5
    assert await embedded.shim(refusing).round() == 1
    assert (list(embedded.results(other)), len(embedded.results(of))) == ([60], 5)
    assert await embedded.shim().round() == 0
    assert (list(embedded.results(other)), list(embedded.results(of))) == ([60], [60])


async def test_results_ahead_whose_deletion_is_slow_hold_up_their_own_subscription_alone(
    embedded: World,
) -> None:
    """A result that is stored while they are deleted would be deleted, too."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(writes: SubscriptionWrites) -> None:
        embedded.write(writes)
        if writes.ahead:
            begun.set()
            assert go_on.wait(60)

    of = embedded.add()
    embedded.now_s = T + 300 + 5
    assert await embedded.shim().round() == 5
    embedded.now_s = T + 40
    other, shim = embedded.add(), embedded.shim(slow)
    shim.forget_wait_s = 0
    embedded.now_s = T + 60 + 5
    try:
        assert await shim.round() == 1
        assert await asyncio.to_thread(begun.wait, 240)
        embedded.now_s = T + 120 + 5
        assert await shim.round() == 1
        assert (list(embedded.results(other)), list(embedded.results(of))) == ([60, 120], [60])
    finally:
        go_on.set()
    assert shim._forgetting is not None
    await asyncio.wait((shim._forgetting,), timeout=240)
    assert await shim.round() == 1
    assert list(embedded.results(of)) == list(embedded.results(other)) == [60, 120]


@pytest.mark.parametrize("server_s", [T + 300 + 5, T + 40])
async def test_an_indexer_that_is_late_deletes_no_results(embedded: World, server_s: int) -> None:
    """A tick is ahead if it has not come by the clock of the ClickHouse server, either."""
    of, shim = embedded.add(), embedded.shim()
    embedded.now_s = T + 300 + 5
    assert await shim.round() == 5
    embedded.now_s = T + 40
    writer = SubscriptionWriter(embedded.store, 3, lambda: (T + 40) * 1000, lambda: server_s)
    await embedded.shim(local_writes(writer)).round()
    assert len(embedded.results(of)) == (5 if server_s > T + 300 else 0)


async def test_an_indexer_takes_no_result_of_a_shim_that_is_ahead(embedded: World) -> None:
    of, ahead = embedded.add(), embedded.shim()
    embedded.now_s = T + 60 + 5
    ahead.now_s = lambda: T + 2 * 86_400
    with pytest.raises(Unavailable, match="a tick 172675 s ahead of the indexer's clock"):
        await ahead.round()
    assert embedded.results(of) == {}
    following = embedded.shim()
    following.now_s = skewed_clock(lambda: embedded.now_s, 2 * 86_400.0).told_s
    assert await following.round() == 1
    assert list(embedded.results(of)) == [60]


def test_a_subscription_of_a_clock_that_was_ahead_is_removed(embedded: World) -> None:
    embedded.now_s = T + 2 * 86_400
    of = embedded.add()
    embedded.now_s = T
    embedded.book.remove(of)
    assert embedded.book.of_entity(embedded.tenant, "metrics", "metrics_counters") == []


async def test_a_removed_subscription_is_not_evaluated(embedded: World) -> None:
    of, other = embedded.add(), embedded.add()
    embedded.book.remove(of)
    assert embedded.book.of_entity(embedded.tenant, "metrics", "metrics_counters") == [other]
    embedded.now_s = T + 65
    assert await embedded.shim().round() == 1
    assert (len(embedded.results(of)), len(embedded.results(other))) == (0, 1)


async def test_a_query_that_fails_has_a_result_with_the_error(embedded: World) -> None:
    made = embedded.add()
    of = Subscription(**{name: getattr(made, name) for name in made.__struct_fields__} | {"query": "MATCH ("})
    embedded.now_s += 1
    embedded.write(SubscriptionWrites(put=[of]))  # as of a version with another grammar
    embedded.now_s = T + 65
    assert await embedded.shim().round() == 1
    payload = json.loads(embedded.book.results(of, 1)[0])["payload"]
    assert payload["result"] == {"data": [], "meta": []}
    assert "line 1" in payload["error"]


def test_an_org_has_a_bounded_number(embedded: World) -> None:
    made = [embedded.add() for _ in range(3)]
    with pytest.raises(BadData, match="org 1 has 3 subscriptions: expected fewer than 3"):
        embedded.add()
    embedded.tenant = Tenant(2, 1)
    embedded.add()  # the bound is the org's own
    embedded.tenant = Tenant(1, 1)
    embedded.book.remove(made[0])
    embedded.add()


def test_another_project_of_the_org_replaces_nothing(embedded: World) -> None:
    """A credential of project 2 that names a foreign subscription in a message changes nothing there."""
    of = embedded.add()
    foreign = Subscription(**{name: getattr(of, name) for name in of.__struct_fields__} | {"project_id": 2})
    embedded.write(SubscriptionWrites(remove=[foreign]))
    assert embedded.book.of_entity(Tenant(1, None), "metrics", "metrics_counters") == [of]
    assert embedded.book.of_entity(Tenant(1, 2), "metrics", "metrics_counters") == []


def test_subscriptions_of_a_store_without_webhooks_stay(embedded: World) -> None:
    """A store as the version before made it, after this version's migrations."""
    of, store = embedded.add(), embedded.store
    store.command("ALTER TABLE subscriptions DROP COLUMN webhook")
    store.command("DROP TABLE subscription_webhooks SYNC")
    store.command(
        "ALTER TABLE schema_migrations DELETE WHERE name = 'webhooks of subscriptions'"
        " SETTINGS mutations_sync = 1"
    )
    migrate(store, KEPT)
    assert embedded.book.of_entity(embedded.tenant, "metrics", "metrics_counters") == [of]
    embedded.book.add(Wanted("metrics_counters", QUERY, 60, 60, Asked(embedded.tenant, 0)))


TOKENS: Final = {
    "both": "1:1 write,query", "reads": "1:1 query", "second": "1:2 write,query", "org": "1:* write,query",
}  # fmt: skip


@asynccontextmanager
async def _services(dsn: str, folder: Path) -> AsyncIterator[tuple[ShimService, aiohttp.ClientSession]]:
    """Yield a shim that may only read in ClickHouse, beside an indexer of its own process."""
    journal = JournalSettings(path=str(folder / "journal.sqlite"))
    bounds = Bounds(subscriptions=2)
    indexer = IndexerService(
        Settings(
            dsn=dsn, listen="127.0.0.1:0", journal=journal, up=False, bounds=bounds,
            tokens={"shims": "*:* write"},
        )
    )  # fmt: skip
    await indexer.start()
    shim = ShimService(
        ShimSettings(
            listen="127.0.0.1:0",
            dsn=dsn.replace("//", f"//{READER}:p@"),
            tenancy=TenancySettings(mode="token", tokens=TOKENS),
            indexers=IndexersSettings(urls=["http://127.0.0.1:9", indexer.url], token="shims"),
            subscriptions=SubscriptionSettings(webhook_secret="a secret of 16 bytes or more"),
            webhooks=WebhookSettings(allowed_hosts=["hooks.example"]),
        )
    )
    await shim.start()
    session = aiohttp.ClientSession(shim.url)
    try:
        yield shim, session
    finally:
        await session.close()
        await shim.stop()
        await indexer.stop()


async def test_over_http_by_a_shim_that_may_only_read(http_dsn: str, tmp_path: Path) -> None:
    async with _services(http_dsn, tmp_path) as (_, session):

        async def ask(method: str, path: str = PATH, token: str = "both", **more: Any) -> tuple[int, Any]:
            headers = {"Authorization": f"Bearer {token}"}
            async with session.request(method, path, headers=headers, **more) as response:
                text = await response.text()
                return response.status, text if text == "ok" else json.loads(text)

        hooked = {**BODY, "webhook": "https://hooks.example/in"}
        status, answer = await ask("POST", json=hooked)
        assert status == 202, answer
        assert answer["webhook_secret"].startswith("whsec_")
        id_ = answer["subscription_id"]
        partition, _, hex_ = id_.partition("/")
        assert (partition, len(hex_)) == ("0", 32)
        status, answer = await ask("GET")
        assert status == 200
        (shown,) = answer["data"]
        assert shown.pop("since") > T
        assert shown == {"subscription_id": id_, **hooked}
        status, answer = await ask("POST", json={**BODY, "webhook": "https://inside.example/"})
        assert status == 400
        assert "shim.webhooks.allowed_hosts" in answer["error"]["message"]
        assert len((await ask("GET", token="org"))[1]["data"]) == 1
        assert await ask("GET", token="second") == (200, {"data": []})
        assert await ask("GET", f"{PATH}/{id_}") == (200, {"data": []})
        for method in ("GET", "DELETE"):  # of others, of another entity, of another partition
            assert (await ask(method, f"{PATH}/{id_}", token="second"))[0] == 404
            assert (await ask(method, f"/metrics/metrics_sets/subscriptions/{id_}"))[0] == 404
            assert (await ask(method, f"{PATH}/1/{hex_}"))[0] == 404
        assert (await ask("POST", json=BODY, token="reads"))[0] == 403
        assert (await ask("DELETE", f"{PATH}/{id_}", token="reads"))[0] == 403
        assert (await ask("POST", json={**BODY, "project_id": 2}))[0] == 403
        assert (await ask("POST", json={**BODY, "time_window": 30}))[0] == 400
        assert (await ask("POST", json={**BODY, "resolution": "often"}))[0] == 400
        assert (await ask("POST", json={**BODY, "project_id": 2}, token="org"))[0] == 202
        status, answer = await ask("POST", json=BODY)
        assert status == 400
        assert "org 1 has 2 subscriptions: expected fewer than 2" in answer["error"]["message"]
        assert await ask("DELETE", f"{PATH}/{id_}") == (202, "ok")
        assert (await ask("DELETE", f"{PATH}/{id_}"))[0] == 404
        assert (await ask("GET"))[1] == {"data": []}


async def test_without_an_indexer_the_answer_says_so(http_dsn: str) -> None:
    store = open_store(http_dsn, pool=1)
    migrate(store)
    shim = ShimService(ShimSettings(listen="127.0.0.1:0", dsn=http_dsn))
    await shim.start()
    try:
        async with aiohttp.ClientSession(shim.url) as session, session.post(PATH, json=BODY) as response:
            assert response.status == 503
            assert "shim.indexers.urls" in await response.text()
    finally:
        await shim.stop()
        store.close()


async def test_a_page_of_another_host_subscribes_nothing(http_dsn: str) -> None:
    store = open_store(http_dsn, pool=1)
    migrate(store)
    shim = ShimService(ShimSettings(listen="127.0.0.1:0", dsn=http_dsn), store=store)
    await shim.start()
    try:
        headers = {"Origin": "http://evil.example"}
        async with (
            aiohttp.ClientSession(shim.url) as session,
            session.post(PATH, data={"query": QUERY}, headers=headers) as response,
        ):
            assert response.status == 403
    finally:
        await shim.stop()
        store.close()
