"""Rates over all indexers of one Redis: rows that one takes, another counts; without it each is alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from redis import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from indexer.receive import shared_rates
from indexer.receive.org_rates import OrgRates
from indexer.receive.shared_rates import SharedRates
from indexer.settings import Limits
from tests.support.redis_server import RedisServer

LIMITS = Limits(rows_per_s=10, rows_burst=100, strings_per_s=10, strings_burst=100)


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    server = RedisServer(tmp_path)
    server.start()
    yield server.url
    server.stop()


def indexer(
    url: str, clock: Clock, database: str = "one", timeout_s: float = 60.0
) -> tuple[OrgRates, SharedRates]:
    """Return the rates of an indexer; a busy machine does not make an exchange fail."""
    rates = OrgRates(LIMITS, clock)
    shared = SharedRates(url, rates, timeout_s=timeout_s, now_s=clock, clock_s=lambda: rates._clock())
    shared.use_database(database)
    rates.note_charges()
    return rates, shared


def test_a_rate_holds_over_all_indexers(redis_url: str) -> None:
    clock = Clock()
    (a, of_a), (b, of_b), (c, of_c) = (indexer(redis_url, clock, name) for name in ("one", "one", "two"))
    a.charge("rows", 1, 90)
    b.charge("rows", 1, 30)
    b.charge("strings", 2, 150)
    c.charge("rows", 1, 1)
    assert a.exceeded(1) is None
    for shared in (of_a, of_b, of_c, of_a):
        assert shared.exchange()
    assert a.exceeded(1) == b.exceeded(1) == ("rows", 2)  # 120 of 100: 2 s until paid
    assert c.exceeded(1) is None  # another database
    assert a.exceeded(2) is None  # it has no frames of that org, and learns with the first one
    a.charge("strings", 2, 1)
    assert of_a.exchange()
    assert a.exceeded(2) == ("strings", 6)
    for shared in (of_a, of_b):  # nothing is counted twice
        assert shared.exchange()
    assert b.exceeded(1) == ("rows", 2)
    clock.now_s += 120  # two minutes later
    a.charge("rows", 1, 50)
    assert of_a.exchange()
    assert a.exceeded(1) is None
    for shared in (of_a, of_b, of_c):
        shared.stop()


@pytest.mark.parametrize("carried_out", [True, False])
@pytest.mark.parametrize("passed_s", [1, 60])
def test_a_request_without_an_answer_counts_once(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, carried_out: bool, passed_s: int
) -> None:
    """Also if a minute ends meanwhile."""
    clock = Clock()
    (a, of_a), (b, of_b) = (indexer(redis_url, clock) for _ in range(2))
    a._clock = b._clock = lambda: 1_000.0
    add = of_a._add

    def lost(*args: Any) -> NoReturn:
        if carried_out:
            add(*args)
        raise RedisTimeoutError

    b.charge("rows", 1, 1)
    assert of_b.exchange()
    a.charge("rows", 1, 90)
    with monkeypatch.context() as patch:
        patch.setattr(of_a, "_add", lost)
        assert not of_a.exchange()
        a.charge("rows", 1, 15)
        assert not of_a.exchange()
    clock.now_s += passed_s
    b.charge("rows", 1, 1)  # so it asks in this minute
    for _ in range(3):
        assert all(shared.exchange() for shared in (of_a, of_b))
    assert a.exceeded(1) == b.exceeded(1) == ("rows", 1)  # 107 of 100
    for shared in (of_a, of_b):
        shared.stop()


def test_a_clock_that_is_set_back_takes_no_charges_away(redis_url: str) -> None:
    clock = Clock()
    rates, shared = indexer(redis_url, clock)
    for passed_s, amount in ((0, 90), (60, 1), (-60, 10), (0, 10)):
        clock.now_s += passed_s
        rates.charge("rows", 1, amount)
        assert shared.exchange()
    client = Redis.from_url(redis_url)
    assert client.hget(f"rates:one:1:{int(clock.now_s) // 60}", "rows") == b"110"
    client.close()
    shared.stop()


def test_charges_outlive_an_empty_redis(redis_url: str) -> None:
    (a, of_a), (b, of_b) = (indexer(redis_url, Clock()) for _ in range(2))
    client = Redis.from_url(redis_url)
    for rates in (a, b):
        rates.charge("rows", 1, 60)
    for _ in range(3):
        assert all(shared.exchange() for shared in (of_a, of_b, of_a))
        assert a.exceeded(1) == b.exceeded(1) == ("rows", 2)
        client.flushall()
    client.close()
    for shared in (of_a, of_b):
        shared.stop()


@pytest.mark.parametrize("away", ["both", "one"])
@pytest.mark.parametrize("minutes", [0.5, 5])
def test_an_org_within_its_limit_is_not_refused_after_an_outage(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, away: str, minutes: float
) -> None:
    """It writes 4 of 10 rows a second at each indexer: as one sum 5 minutes of that are far too many."""
    clock = Clock()
    (a, of_a), (b, of_b) = (indexer(redis_url, clock) for _ in range(2))

    def lost(*_: object) -> NoReturn:
        raise RedisTimeoutError

    def pass_s(seconds: int) -> None:
        for _ in range(seconds):
            clock.now_s += 1
            for rates, shared in ((a, of_a), (b, of_b)):
                rates.charge("rows", 1, 4)
                shared.exchange()
                assert rates.exceeded(1) is None, clock.now_s

    pass_s(5)
    with monkeypatch.context() as patch:
        for shared in (of_a, of_b) if away == "both" else (of_a,):
            patch.setattr(shared, "_add", lost)
        pass_s(int(60 * minutes))
    pass_s(5)
    b.charge("rows", 1, 150)
    for shared in (of_b, of_a):
        assert shared.exchange()
    assert None not in (a.exceeded(1), b.exceeded(1)), "they share again"
    for shared in (of_a, of_b):
        shared.stop()


def test_a_redis_that_hangs_changes_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        rates, shared = indexer(f"redis://127.0.0.1:{hanging.getsockname()[1]}/0", Clock(), timeout_s=0.25)
        rates.charge("rows", 1, 120)
        assert not shared.exchange()
        assert rates.exceeded(1) == ("rows", 2)
        shared.stop()


def test_a_mistake_ends_no_later_exchange(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without exchanges each indexer would let a whole rate through."""
    calls, again = iter((True, False)), threading.Event()

    def failing(_: SharedRates) -> bool:
        if next(calls, False):
            raise ZeroDivisionError
        again.set()
        return True

    monkeypatch.setattr(SharedRates, "exchange", failing)
    monkeypatch.setattr(shared_rates, "EXCHANGE_S", 0.001)
    monkeypatch.setattr(shared_rates, "_REST_S", 0.001)
    mistakes: list[str] = []
    shared = SharedRates("redis://127.0.0.1:1/0", OrgRates(Limits()), mistakes.append)
    shared.start()
    assert again.wait(60)
    shared.stop()
    assert "event=task_failed task=rates" in caplog.text
    assert mistakes == ["rates"]
