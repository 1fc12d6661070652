"""Agents that send all the time, and a watcher of an API's points: when they show, and whether they change.

For tests and benchmarks of the live edge. The watcher asks range queries up to now, again and again.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from tests.e2e.product import Api, Process, Starter, wait_for
from tests.e2e.services import start_agent

#: The queries: sums and series, of deltas, running totals and gauges.
TOTAL: Final = "sum(increase(edge[10s]))"
QUERIES: Final = (
    "increase(edge[10s])", "edge", "edge_level", "sum(rate(edge_wait_count[30s]))",
    "histogram_quantile(0.9, sum(rate(edge_wait[20s])))", "avg_over_time(edge_level[20s])",
)  # fmt: skip

Point = tuple[str, tuple[tuple[str, str], ...], int]


class Sender:
    """Sends lines of its own to one agent, until it is stopped."""

    def __init__(self, address: tuple[str, int], name: str, every_s: float = 0.05) -> None:
        self.sent = 0
        self._socket = socket.create_connection(address)
        self._name = name
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            n = self.sent
            tags = f"|#from:{self._name}"
            lines = f"edge:1|c{tags}\nedge_level:{n % 97}|g{tags}\nedge_wait:{n % 13}|ms{tags}\n"
            try:
                self._socket.sendall(lines.encode())
            except OSError:
                return  # the agent is gone; `sent` is all it was sent
            self.sent += 1

    def stop(self) -> int:
        """How many of each kind of line it has sent."""
        self._stopped.set()
        self._thread.join()
        self._socket.close()
        return self.sent


@dataclass
class Watcher:
    """Points that an API showed: `values` of each, since when, and the `changes` of shown values."""

    api: Api
    begin_s: int  # points from here on are looked at
    step_s: int = 10
    queries: Sequence[str] = QUERIES
    values: dict[Point, float] = field(default_factory=dict)
    since_s: dict[Point, float] = field(default_factory=dict)
    changes: list[tuple[Point, float, float]] = field(default_factory=list)

    def look(self) -> None:
        """Asks every query once, and before each of them the one whose times are looked at."""
        for query in (q for other in self.queries for q in (TOTAL, other)):
            end_s = max(self.begin_s, int(time.time()))
            found = self.api.range(query, self.begin_s, end_s, self.step_s)
            now_s = time.time()
            for labels, row in found.items():
                for at_s, value in row.items():
                    point = (query, labels, at_s)
                    before = self.values.setdefault(point, value)
                    self.since_s.setdefault(point, now_s)
                    if before != value:
                        self.changes.append((point, before, value))

    def latencies_s(self, query: str = TOTAL) -> list[float]:
        """How long after its bucket's end each point of a query was shown for the first time, sorted."""
        points = [(p[2], since_s) for p, since_s in self.since_s.items() if p[0] == query]
        return sorted(since_s - at_s for at_s, since_s in points if at_s > self.begin_s)

    def report(self) -> str:
        """Return one line: how soon buckets were shown, and which changed."""
        found = self.latencies_s()
        return (
            f"{len(found)} buckets, shown after {quantile(found, 0.5):.2f} s (median),"
            f" {quantile(found, 0.95):.2f} s (95th percentile), {found[-1]:.2f} s (longest);"
            f" {len(self.values)} points, {len(self.changes)} changes;"
            f" each: {' '.join(f'{s:.2f}' for s in found)}"
        )

    def counted(self) -> float:
        """All increments that were shown."""
        return sum(value for point, value in self.values.items() if point[0] == TOTAL)


def quantile(sorted_values: Sequence[float], q: float) -> float:
    """Return the quantile by nearest rank."""
    return sorted_values[max(0, ceil(q * len(sorted_values)) - 1)]


@dataclass
class Scene:
    """Agents in front of an API: a steady one, a slow one, one that stops and one that starts half way."""

    start: Starter
    api: Api
    indexers: Sequence[str]  # their URLs; agents take turns
    senders: list[Sender] = field(default_factory=list)
    sent: int = 0

    def agent(self, name: str, delay_ms: int = 500) -> tuple[Process, Sender]:
        """Start an agent and a sender of lines to it."""
        url = self.indexers[len(self.senders) % len(self.indexers)]
        delay = {"METERHOUSE_AGENT__FLUSH__DELAY_MS": str(delay_ms)}
        process, port = start_agent(self.start, url, name, delay)
        sender = Sender(("127.0.0.1", port), name)
        self.senders.append(sender)
        return process, sender

    def play(self, buckets: int, pause_s: float = 0.05) -> Watcher:
        """Run for this number of buckets, and return when all of them are shown."""
        self.agent("steady")
        self.agent("slow", 1_000)
        stopping, last = self.agent("stopping")
        begin_s = int(time.time()) // 10 * 10 + 10
        watcher = Watcher(self.api, begin_s)
        half_s, end_s = begin_s + buckets * 5 + 3, begin_s + buckets * 10
        begun: list[threading.Thread] = []
        halves = [(half_s - 1.0, lambda: self._end(stopping, last)), (half_s, lambda: self.agent("starting"))]
        while time.time() < end_s:
            watcher.look()
            while halves and time.time() > halves[0][0]:
                begun.append(threading.Thread(target=halves.pop(0)[1]))
                begun[-1].start()
            time.sleep(pause_s)
        for thread in begun:
            thread.join()  # an agent may take long to start: its sender is stopped, too
        for sender in self.senders:
            self.sent += sender.stop()

        def all_shown() -> bool:
            watcher.look()
            return len(watcher.latencies_s()) >= buckets

        wait_for(all_shown, f"{buckets} buckets are shown", 240)
        return watcher

    def _end(self, process: Process, sender: Sender) -> None:
        sender.stop()
        process.terminate()
