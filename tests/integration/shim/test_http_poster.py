"""Webhooks to real servers: outcomes, redirects, addresses, servers that hang."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from shim.model.allowed_hosts import AllowedHosts
from shim.notify.http_poster import PostOutcome, _Resolver
from shim.notify.signed_webhook import SignedWebhook, signed_headers

Handler = Callable[[web.Request], Awaitable[web.Response]]
KEY = b"a key of some bytes"


class Receiver:
    """Keeps the requests, and answers each with the next of `statuses`."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[web.Response] = []
        self.hang = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/hang":
            await self.hang.wait()
        self.requests.append((request.path, dict(request.headers), await request.read()))
        return self.answers.pop(0) if self.answers else web.Response(text="ok")


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, int]]:
    made, app = Receiver(), web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield made, runner.addresses[0][1]
    made.hang.set()
    await runner.cleanup()


async def test_a_message_arrives_signed_and_whole(receiver: tuple[Receiver, int]) -> None:
    made, port = receiver
    webhook = SignedWebhook(AllowedHosts([f"127.0.0.1:{port}"]))
    answer = await webhook.send(f"http://127.0.0.1:{port}/a?b=c", "one", b'{"a":1}', [KEY], 5.0)
    await webhook.close()
    assert (answer.outcome, answer.status) == (PostOutcome.DELIVERED, 200)
    [(path, headers, body)] = made.requests
    assert (path, body) == ("/a", b'{"a":1}')
    assert signed_headers("one", b'{"a":1}', [KEY], 5.0).items() <= headers.items()
    assert "Cookie" not in headers


async def test_the_meaning_of_answers(receiver: tuple[Receiver, int]) -> None:
    made, port = receiver
    made.answers = [
        web.Response(status=204),
        web.Response(status=503, headers={"Retry-After": "7"}),
        web.Response(status=429),
        web.Response(status=400, text="bad"),
        web.Response(status=302, headers={"Location": "/other"}),
    ]
    webhook = SignedWebhook(None)
    found = [await webhook.send(f"http://127.0.0.1:{port}/", "one", b"{}", [], 5.0) for _ in range(5)]
    await webhook.close()
    retry, refused = PostOutcome.RETRY, PostOutcome.REFUSED
    assert [one.outcome for one in found] == [PostOutcome.DELIVERED, retry, retry, refused, refused]
    assert [one.retry_after_s for one in found] == [None, 7.0, None, None, None]
    assert [path for path, _, _ in made.requests] == ["/"] * 5  # no redirect is followed


async def test_a_server_that_hangs_delays_no_other(receiver: tuple[Receiver, int]) -> None:
    _, port = receiver
    webhook, hasty = SignedWebhook(None, timeout_s=120.0), SignedWebhook(None, timeout_s=0.2)
    hanging = asyncio.create_task(webhook.send(f"http://127.0.0.1:{port}/hang", "one", b"{}", [], 5.0))
    assert (await webhook.send(f"http://127.0.0.1:{port}/", "two", b"{}", [], 5.0)).status == 200
    assert not hanging.done()
    hanging.cancel()
    answer = await hasty.send(f"http://127.0.0.1:{port}/hang", "one", b"{}", [], 5.0)
    await webhook.close()
    await hasty.close()
    assert (answer.outcome, answer.text) == (PostOutcome.RETRY, "no answer in 0.2 s")


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001"])
async def test_names_of_private_addresses_are_refused(receiver: tuple[Receiver, int], host: str) -> None:
    made, port = receiver
    webhook = SignedWebhook(AllowedHosts(["*:*"]))
    answer = await webhook.send(f"http://{host}:{port}/", "one", b"{}", [], 5.0)
    await webhook.close()
    assert answer.outcome is not PostOutcome.DELIVERED
    assert made.requests == []


async def test_a_host_that_is_not_allowed_is_refused_for_good(receiver: tuple[Receiver, int]) -> None:
    made, port = receiver
    webhook = SignedWebhook(AllowedHosts(["hooks.example.com"]))
    answer = await webhook.send(f"http://127.0.0.1:{port}/", "one", b"{}", [], 5.0)
    assert answer.outcome is PostOutcome.REFUSED
    assert made.requests == []


async def test_names_that_hang_take_no_thread_of_others(
    receiver: tuple[Receiver, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try waits for its name until its deadline; threads of the loop and of other names go on."""
    _, port = receiver
    released, asked = threading.Event(), Counter[str]()

    def getaddrinfo(host: str, *given: Any) -> Any:
        asked[host] += 1
        if host.startswith("slow"):
            released.wait(300)
        return real("127.0.0.1", *given)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    webhook = SignedWebhook(AllowedHosts([f"slow-{n}.test:{port}" for n in range(20)]), timeout_s=2.0)
    quick = SignedWebhook(AllowedHosts([f"quick.test:{port}"]), timeout_s=120.0)
    urls = [f"http://slow-{n}.test:{port}/" for n in range(20)] * 3
    try:
        slow = [asyncio.create_task(webhook.send(url, "a", b"{}", [], 5.0)) for url in urls]
        async with asyncio.timeout(120):
            while len(asked) < 20:  # noqa: ASYNC110 - threads count
                await asyncio.sleep(0.001)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 120) == 1
        answer = await quick.send(f"http://quick.test:{port}/", "b", b"{}", [], 5.0)
        assert answer.outcome is PostOutcome.DELIVERED
        answers = await asyncio.gather(*slow)
        assert {answer.outcome for answer in answers} == {PostOutcome.RETRY}
        assert set(asked.values()) == {1}  # three tries of a name share a look-up
    finally:
        released.set()
        await webhook.close()
        await quick.close()


async def test_a_name_server_that_hangs_holds_up_its_domain_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant may choose many names of one domain; those of others are looked up meanwhile."""
    goes_on, asked = threading.Event(), Counter[str]()

    def getaddrinfo(host: str, port: int, *_: Any) -> Any:
        asked[host.rpartition("evil")[1]] += 1
        if host.endswith("evil.test"):
            assert goes_on.wait(240)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    resolver = _Resolver(None)
    held = [asyncio.create_task(resolver.resolve(f"n{n}.evil.test", 80)) for n in range(100)]
    found = await asyncio.gather(*(resolver.resolve(f"n{n}.good.test", 80) for n in range(20)))
    assert [one[0]["host"] for one in found] == ["192.0.2.1"] * 20
    assert asked["evil"] <= 16
    goes_on.set()
    assert len(await asyncio.gather(*held)) == 100
    assert asked["evil"] == 100
    await resolver.close()
