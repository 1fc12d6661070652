"""Several indexers with a journal each, many agents, and kills: exact, and how many parts a second.

python -m tests.bench.many_indexers [--agents 200] [--real 50] [--indexers 3] [--seconds 600] [--every 15]

Simulated agents are those of tests/bench/many_agents.py with `agent.forward.urls`: every 10 s a frame of
`--series` series of each type, all at the same moment. Real agents are processes with a spool on disk that
get counters over TCP. Indexers are killed with -9 in random order, and return after up to 25 s. Parts that
were merged since count, too. Exit code 1: a total is not exact, or a frame was lost.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from indexer.clickhouse.store import Store, open_store
from tests.bench.agent_lines import machine
from tests.bench.many_agents import Told, Work, percentiles, simulate
from tests.e2e.product import get, wait_for
from tests.faults.actors.entrance import web_address
from tests.faults.actors.processes import Actor
from tests.support.clickhouse_http import running
from tests.support.parts_watch import PartsWatch

_PROCESSES: Final = 4
#: How long an indexer that was killed stays away, at most: longer than agents wait for it.
_AWAY_S: Final = 25.0
_SETTLED_S: Final = 90.0
#: The number of rows of each kind; members of sets cannot count twice.
_TOTALS: Final = {
    "counters": "sum(value)",
    "gauges": "sum(count)",
    "distributions": "sum(count)",
}


class Indexers:
    """Real indexers over one server."""

    def __init__(self, folder: Path, count: int, dsn: str) -> None:
        self.urls: list[str] = []
        self.actors: list[Actor] = []
        for number in range(count):
            url, address = web_address()
            self.urls.append(url)
            environ = {
                "METERHOUSE_INDEXER__LISTEN": address,
                "METERHOUSE_INDEXER__DSN": dsn,
                "METERHOUSE_INDEXER__JOURNAL__PATH": str(folder / f"journal-{number}.sqlite"),
                "METERHOUSE_INDEXER__UP": "false",
            }
            self.actors.append(Actor(folder, ["indexer"], _ready_at(url), environ))

    def clear(self) -> None:
        """End all."""
        for actor in self.actors:
            actor.clear()


class RealAgents:
    """Agent processes, each with a spool, and the lines that were sent to them."""

    def __init__(self, folder: Path, count: int, urls: Sequence[str]) -> None:
        self.lines = 0
        self.actors: list[Actor] = []
        self._ops: list[str] = []
        self._tcp: list[tuple[str, int]] = []
        for number in range(count):
            ops_url, ops = web_address()
            _, tcp = web_address()
            self._ops.append(ops_url)
            host, _, port = tcp.rpartition(":")
            self._tcp.append((host, int(port)))
            environ = {
                "METERHOUSE_AGENT__TCP": tcp,
                "METERHOUSE_AGENT__UDP": "",
                "METERHOUSE_AGENT__OPS": ops,
                "METERHOUSE_AGENT__NAME": f"real-{number}",
                "METERHOUSE_AGENT__FORWARD__URLS": f"[{', '.join(map(_quoted, urls))}]",
                "METERHOUSE_AGENT__SPOOL__PATH": str(folder / f"spool-{number}"),
            }
            self.actors.append(Actor(folder, ["agent"], _healthy_at(ops_url), environ))

    def send(self, lines: int) -> None:
        """Send lines to each agent, over a connection that it reads to its end."""
        for number, address in enumerate(self._tcp):
            with socket.create_connection(address, 30) as sock:
                text = f"real.hits:1|c|#agent:{number}\n" * lines
                sock.sendall(text.encode())
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1_024):
                    pass
            self.lines += lines

    def unsent(self, number: int) -> float:
        """Return how many lines of an agent are not acknowledged yet."""
        text = get(f"{self._ops[number]}/metrics")[1].decode()
        read, sent = (
            float(text.partition(f"\nmeterhouse_agent_{name}_total ")[2].partition("\n")[0])
            for name in ("lines", "sent_lines")
        )
        return read - sent

    def drain(self) -> None:
        """End all with SIGTERM once they have sent everything."""
        for number in range(len(self.actors)):
            wait_for(lambda n=number: self.unsent(n) <= 0, f"agent {number} has sent all", _SETTLED_S)  # type: ignore[misc]

    def clear(self) -> None:
        """End all."""
        for actor in self.actors:
            actor.clear()


def _ready_at(url: str) -> Any:
    return lambda: get(f"{url}/readyz", 5)[0] == 200


def _healthy_at(url: str) -> Any:
    return lambda: get(f"{url}/healthz")[0] == 200


def _quoted(text: str) -> str:
    return f'"{text}"'


def kill_at_random(indexers: Indexers, agents: RealAgents, until_s: float, every_s: float) -> int:
    """Kill indexers, return them after a random time, and feed the real agents; return the kills."""
    rnd = random.Random(1)
    back: dict[int, float] = {}
    kills, next_kill_s, next_lines_s = 0, time.time() + every_s, 0.0
    while (now_s := time.time()) < until_s:
        for number, at_s in list(back.items()):
            if at_s <= now_s:
                indexers.actors[number].start()
                del back[number]
        if now_s >= next_lines_s:
            agents.send(rnd.randrange(1, 50))
            next_lines_s = now_s + 2.0
        if now_s >= next_kill_s and now_s + _AWAY_S < until_s:
            number = rnd.randrange(len(indexers.actors))
            if number not in back and len(back) < len(indexers.actors) - 1:
                indexers.actors[number].kill()
                back[number] = now_s + rnd.uniform(0.5, _AWAY_S)
                kills += 1
                print(f"indexer {number} killed for {back[number] - now_s:.1f} s", flush=True)
            next_kill_s = now_s + rnd.uniform(0.5, 1.5) * every_s
        time.sleep(0.2)
    for number in back:
        indexers.actors[number].start()
    return kills


def totals(store: Store) -> dict[str, float]:
    """Return the rows of each kind in each of two rollups."""
    return {
        f"{kind}_{rollup}": float(store.rows(f"SELECT {sql} FROM {kind}_{rollup}")[0][0])
        for kind, sql in _TOTALS.items()
        for rollup in ("10s", "1d")
    }


def run(folder: Path, args: argparse.Namespace, port: int) -> int:
    """Run agents and kills, and print the measurements."""
    dsn = f"http://127.0.0.1:{port}/default"
    with ExitStack() as stack:
        indexers = Indexers(folder, args.indexers, dsn)
        stack.callback(indexers.clear)
        for actor in indexers.actors:
            actor.start()
        agents = RealAgents(folder, args.real, indexers.urls)
        stack.callback(agents.clear)
        for actor in agents.actors:
            actor.start()
        store, watched = open_store(dsn, pool=1), open_store(dsn, pool=1)
        stack.callback(store.close)
        stack.callback(watched.close)
        began_s, parts = time.time(), PartsWatch(watched)
        parts.start()
        told, kills = _run_all(indexers, agents, args)
        agents.drain()
        seconds = time.time() - began_s
        parts.stop()
        return _report(store, told, agents, parts, (seconds, kills))


def _run_all(indexers: Indexers, agents: RealAgents, args: argparse.Namespace) -> tuple[list[Told], int]:
    until_s = time.time() + args.seconds
    context = multiprocessing.get_context("spawn")
    simulated = range(args.agents - args.real)
    channels, processes = [], []
    for n in range(_PROCESSES):
        ours, theirs = context.Pipe()
        work = Work(indexers.urls[0], simulated[n::_PROCESSES], args.series, until_s, indexers.urls)
        processes.append(context.Process(target=simulate, args=(work, theirs), daemon=True))
        channels.append(ours)
        processes[-1].start()
    kills = kill_at_random(indexers, agents, until_s, args.every)
    told: list[Told] = [channel.recv() for channel in channels]
    for process in processes:
        process.join()
    return told, kills


def _report(
    store: Store, told: Sequence[Told], agents: RealAgents, parts: PartsWatch, ran: tuple[float, int]
) -> int:
    seconds, kills = ran
    print(percentiles("acknowledged", [done - made for one in told for made, done in one.acknowledged]))
    rate = parts.events / seconds
    print(f"{kills} kills, {parts.events} parts in {seconds:.0f} s: {rate:.1f} a second")
    print(f"parts by table: {parts.by_table()}")
    rows = sum(count for one in told for count in one.rows.values())
    expected = {f"{kind}_{rollup}": float(rows) for kind in _TOTALS for rollup in ("10s", "1d")}
    expected |= {f"counters_{rollup}": float(rows + agents.lines) for rollup in ("10s", "1d")}
    wrong = {table: (got, expected[table]) for table, got in totals(store).items() if got != expected[table]}
    dropped, unsent = sum(one.dropped for one in told), sum(one.unsent for one in told)
    print(f"{rows} rows of each kind, {agents.lines} lines, {dropped} frames dropped, {unsent} unsent; "
        + (f"NOT exact (got, expected): {wrong}" if wrong else "exact"))  # fmt: skip
    return 1 if wrong or dropped or unsent else 0


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.many_indexers", description=__doc__)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--real", type=int, default=50)
    parser.add_argument("--indexers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--series", type=int, default=10)
    parser.add_argument("--every", type=float, default=15.0)
    args = parser.parse_args()
    print(f"# {machine()}: {' '.join(sys.argv[1:])}", flush=True)
    with tempfile.TemporaryDirectory(prefix="meterhouse-bench-") as name, running(Path(name) / "ch") as port:
        return run(Path(name), args, port)


if __name__ == "__main__":
    sys.exit(main())
