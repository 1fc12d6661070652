"""Generates a web shop's traffic as StatsD lines, and records the exact totals sent.

Requests come in waves over four routes and three instances. Each has a status and a duration and is made by
one of 2,000 users; every five minutes the checkout is slow and failing for half a minute. Every line carries
`|T`, so the totals also tell which 10 s buckets contain it: all of them lie in `[start, end)`.

`Shop` and `Truth` are pure: the time is an argument, the randomness comes from a seed. Only `send` is not.
"""

from __future__ import annotations

import itertools
import math
import random
import socket
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from agent.wire.frame import BUCKET_SECONDS

#: route, share of the requests, median duration in seconds
ROUTES: Final = (
    ("/", 0.45, 0.018),
    ("/product", 0.30, 0.042),
    ("/search", 0.15, 0.085),
    ("/checkout", 0.10, 0.160),
)
INSTANCES: Final = ("web-1", "web-2", "web-3")
REGIONS: Final = ("eu", "us", "ap")
QUEUES: Final = ("mail", "invoices")
USERS: Final = 2_000
TICK_S: Final = 0.1
#: Requests of one run: their durations are kept, 8 bytes each, because the totals are exact.
MAX_REQUESTS: Final = 10_000_000
#: Fits an Ethernet frame together with IP and UDP headers, with room for tunnels.
PACKET_BYTES: Final = 1_400

Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]


class CounterTruth(msgspec.Struct, frozen=True):
    """The total added to one counter series."""

    name: str
    labels: dict[str, str]
    total: float


class DistributionTruth(msgspec.Struct, frozen=True):
    """One distribution series, or (without labels) all of a name; p50 and p99 as in `quantile_over_time`."""

    name: str
    labels: dict[str, str]
    count: int
    sum: float
    min: float
    max: float
    p50: float
    p99: float


class SetTruth(msgspec.Struct, frozen=True):
    """One set series, or (without labels) all of a name: the number of distinct members sent."""

    name: str
    labels: dict[str, str]
    distinct: int


class GaugeTruth(msgspec.Struct, frozen=True):
    """One gauge series: the last value, and its time in Unix seconds."""

    name: str
    labels: dict[str, str]
    last: float
    at: int


class Truth(msgspec.Struct, frozen=True):
    """The totals sent. All lie in the buckets of `[start, end)`, Unix seconds, multiples of 10."""

    start: int
    end: int
    lines: int
    counters: list[CounterTruth]
    distributions: list[DistributionTruth]
    sets: list[SetTruth]
    gauges: list[GaugeTruth]


class Shop:
    """Generates the lines, tick by tick, and records their totals."""

    def __init__(self, seed: int, requests_per_second: float = 200.0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - traffic, not secrets
        self._rate = requests_per_second
        self._owed = 0.0
        #: Sent so far.
        self.requests = 0
        self._gauges_at = -1
        self._first = self._last = -1
        self.lines = 0
        self._counters: dict[Key, float] = {}
        self._distributions: dict[Key, array[float]] = {}
        self._sets: dict[Key, set[str]] = {}
        self._gauges: dict[Key, tuple[float, int]] = {}
        self._memory = {instance: 300e6 + 50e6 * i for i, instance in enumerate(INSTANCES)}

    def tick(self, now_s: float) -> list[str]:
        """Return the lines of the tick at `now_s`; to be called every TICK_S."""
        at = int(now_s)
        self._first = at if self._first < 0 else self._first
        self._last = at
        wave = 1 + 0.4 * math.sin(2 * math.pi * now_s / 120)
        self._owed += self._rate * TICK_S * wave
        self.requests += int(self._owed)
        lines = [line for _ in range(int(self._owed)) for line in self._request(at)]
        self._owed -= int(self._owed)
        if at != self._gauges_at:
            self._gauges_at = at
            lines += self._states(at, wave)
        self.lines += len(lines)
        return lines

    def _request(self, at: int) -> Iterator[str]:
        """Yield one visitor's request: a counter, a distribution and a set."""
        rnd = self._random
        route, _, median = rnd.choices(ROUTES, weights=[share for _, share, _ in ROUTES])[0]
        trouble = route == "/checkout" and 120 <= at % 300 < 150
        failed = rnd.random() < (0.12 if trouble else 0.004)
        status = "500" if failed else "404" if rnd.random() < 0.01 else "200"
        user = int(USERS * rnd.random() ** 2)  # few come often, many seldom
        labels = (("instance", rnd.choice(INSTANCES)), ("route", route), ("status", status))
        key: Key = ("shop.requests", labels)
        self._counters[key] = self._counters.get(key, 0) + 1
        yield _line(key, "1|c", at)

        seconds = f"{rnd.lognormvariate(math.log(median * (4 if trouble else 1)), 0.5):.6f}"
        key = ("shop.request.duration", (("route", route),))
        self._distributions.setdefault(key, array("d")).append(float(seconds))
        yield _line(key, f"{seconds}|d", at)

        key = ("shop.users", (("region", REGIONS[user % 3]),))
        self._sets.setdefault(key, set()).add(f"u{user}")
        yield _line(key, f"u{user}|s", at)

    def _states(self, at: int, wave: float) -> Iterator[str]:
        """Yield the gauges of this second."""
        for queue in QUEUES:
            yield self._gauge(
                "shop.queue.depth", (("queue", queue),), self._random.randrange(int(40 * wave) + 1), at
            )
        for instance in INSTANCES:
            grown = self._memory[instance] + self._random.uniform(-2e6, 3e6)
            self._memory[instance] = grown if grown < 600e6 else 300e6  # the garbage was collected
            yield self._gauge("shop.memory.bytes", (("instance", instance),), int(self._memory[instance]), at)

    def _gauge(self, name: str, labels: Labels, value: int, at: int) -> str:
        self._gauges[name, labels] = (float(value), at)
        return _line((name, labels), f"{value}|g", at)

    def truth(self) -> Truth:
        """Return the totals sent so far; needs at least one tick."""
        merged: dict[Key, array[float]] = dict(self._distributions)
        members: dict[Key, set[str]] = dict(self._sets)
        for (name, _), values in self._distributions.items():
            merged[name, ()] = merged.get((name, ()), array("d")) + values
        for (name, _), users in self._sets.items():
            members[name, ()] = members.get((name, ()), set()) | users
        return Truth(
            start=self._first // BUCKET_SECONDS * BUCKET_SECONDS,
            end=(self._last // BUCKET_SECONDS + 1) * BUCKET_SECONDS,
            lines=self.lines,
            counters=[CounterTruth(n, dict(ls), v) for (n, ls), v in sorted(self._counters.items())],
            distributions=[_spread(n, ls, v) for (n, ls), v in sorted(merged.items())],
            sets=[SetTruth(n, dict(ls), len(v)) for (n, ls), v in sorted(members.items())],
            gauges=[GaugeTruth(n, dict(ls), v, at) for (n, ls), (v, at) in sorted(self._gauges.items())],
        )


def _line(key: Key, value: str, at: int) -> str:
    name, labels = key
    return f"{name}:{value}|#{','.join(f'{k}:{v}' for k, v in labels)}|T{at}"


def _spread(name: str, labels: Labels, values: Sequence[float]) -> DistributionTruth:
    ranked = sorted(values)
    return DistributionTruth(
        name,
        dict(labels),
        count=len(ranked),
        sum=math.fsum(ranked),
        min=ranked[0],
        max=ranked[-1],
        p50=quantile(ranked, 0.50),
        p99=quantile(ranked, 0.99),
    )


def quantile(ranked: Sequence[float], q: float) -> float:
    """Return the q-quantile, linear between the two values next to its rank, as PromQL's."""
    rank = q * (len(ranked) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (ranked[above] - ranked[below]) * (rank - below)


def packets(lines: Sequence[str], limit_bytes: int = PACKET_BYTES) -> Iterator[bytes]:
    """Join lines by newlines into packets of at most `limit_bytes`; a longer line is sent alone."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        data = line.encode()
        if batch and size + len(data) > limit_bytes:
            yield b"\n".join(batch)
            batch, size = [], 0
        batch.append(data)
        size += len(data) + 1
    if batch:
        yield b"\n".join(batch)


def send(shop: Shop, address: tuple[str, int], seconds: float, progress: Callable[[float], None]) -> None:
    """Send the shop's traffic over UDP for `seconds` (may be infinite) in real time, or to MAX_REQUESTS.

    A late tick is sent late: its lines carry the time at which they were due. Raises OSError if the port is
    closed.
    """
    family, kind, protocol, _, target = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.connect(target)  # so that a closed port is reported as an error
        begin_s, begin = time.time(), time.monotonic()
        ticks = max(1, round(seconds / TICK_S)) if math.isfinite(seconds) else math.inf
        for i in itertools.count():
            if i >= ticks or shop.requests >= MAX_REQUESTS:
                return
            due = i * TICK_S
            time.sleep(max(0.0, begin + due - time.monotonic()))
            for packet in packets(shop.tick(begin_s + due)):
                sock.send(packet)
            progress(due)
