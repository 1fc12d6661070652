"""Kills and pauses two indexers that share a stream, and its server, against the known truth.

python -m tests.faults.streams [--source redis|kafka] [--seconds 120] [--seed 7]

Messages of three orgs are added all the time, some of them unreadable. A seeded schedule kills an indexer
with SIGKILL and starts it again, stops it for longer than its group waits for it, and stops the server of the
stream. At the end all messages have to be in all four rollups once, and the unreadable ones in the dead
letters. It exits with 1 if not.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import redis

from indexer.clickhouse.store import open_store
from tests.support.clickhouse_http import running
from tests.support.kafka_cluster import KafkaCluster
from tests.support.redis_server import RedisServer

ROOT: Final = Path(__file__).parents[2]
TOPIC, GROUP = "faults", "metrics:meterhouse"
#: Longer than a group waits for a member, and a consumer of Redis for a silent one.
SILENT_S: Final = 7.0
HEALED_S: Final = 120.0


class RedisSource:
    """A Redis stream, and its place in the settings of an indexer."""

    def __init__(self, folder: Path) -> None:
        self._server = RedisServer(folder)
        self._server.start()
        self.place = self._server.url
        self._client: Any = redis.Redis.from_url(self.place)
        self.signal = self._server.signal
        self.stop = self._server.stop

    def add(self, messages: list[bytes]) -> None:
        for message in messages:
            self._client.xadd("metrics", {"message": message})

    def stored(self) -> int:
        """Return the number of committed messages."""
        log = self._client.xrange(f"{GROUP}:commit-log")
        return sum(int(one[b"messages"]) + int(one[b"dead_letters"]) for _, one in log)

    def dead_letters(self) -> int:
        return int(self._client.xlen(f"{GROUP}:dead-letters"))


class KafkaSource:
    """A Kafka topic, and its place in the settings of an indexer."""

    def __init__(self, _: Path) -> None:
        self._cluster = KafkaCluster()
        self.place = f"kafka:{self._cluster.brokers}/{TOPIC}"
        self.signal = self._cluster.signal
        self.stop = self._cluster.stop
        self._turn = 0

    def add(self, messages: list[bytes]) -> None:
        self._turn += 1
        self._cluster.add(TOPIC, *messages, partition=self._turn % 4)

    def stored(self) -> int:
        """Return the number of committed messages."""
        return sum(self._cluster.committed(TOPIC, "meterhouse").values())

    def dead_letters(self) -> int:
        letters = self._cluster.read(f"{TOPIC}-meterhouse-dead-letters")
        return len({letter.key() for letter in letters})


class Indexer:
    """An indexer in a process of its own."""

    def __init__(self, name: str, dsn: str, place: str, folder: Path) -> None:
        journal = str(folder / f"{name}.sqlite")
        self._program = [sys.executable, "-m", "tests.integration.stream_process", dsn, "frame", journal]
        self._program += [place, "never", name]
        self._log = (folder / f"{name}.log").open("ab")
        self.start()

    def start(self) -> None:
        self.child = subprocess.Popen(self._program, cwd=ROOT, stdout=self._log, stderr=self._log)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()

    def close(self) -> None:
        self.kill()
        self._log.close()


class Truth:
    """Makes messages, and adds up their values."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.total, self.bad, self.added = 0, 0, 0

    def messages(self) -> list[bytes]:
        """Return some messages; one in fifty is unreadable."""
        now_s = int(time.time())
        out = []
        for _ in range(self._draw.randint(1, 60)):
            self.added += 1
            if not self._draw.randrange(50):
                self.bad += 1
                out.append(b"{")
                continue
            value = self._draw.randint(1, 9)
            self.total += value
            message = {"org_id": self._draw.randint(1, 3), "project_id": 1, "name": "hits", "type": "c"}
            out.append(msgspec.json.encode(message | {"timestamp": now_s, "value": value}))
        return out


def main() -> int:
    """Run the schedule; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.streams", description=__doc__)
    parser.add_argument("--source", choices=("redis", "kafka"), default="redis")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="meterhouse-streams-"))
    source = RedisSource(folder) if args.source == "redis" else KafkaSource(folder)
    truth = Truth(random.Random(args.seed))
    (folder / "clickhouse").mkdir()
    with running(folder / "clickhouse") as port:
        dsn = f"http://127.0.0.1:{port}/streams"
        indexers = [Indexer(name, dsn, source.place, folder) for name in ("one", "two")]
        try:
            run(source, indexers, truth, args.seconds, random.Random(args.seed + 1))
            return verdict(source, truth, dsn)
        finally:
            for indexer in indexers:
                indexer.close()
            source.stop()
            print(f"logs: {folder}")


def run(
    source: RedisSource | KafkaSource,
    indexers: list[Indexer],
    truth: Truth,
    seconds: float,
    draw: random.Random,
) -> None:
    """Add messages and do harm until the time is over; then all run again."""
    end = time.monotonic() + seconds

    def add_for(duration_s: float) -> None:
        until = time.monotonic() + duration_s
        while time.monotonic() < until:
            source.add(truth.messages())
            time.sleep(0.05)

    def killed() -> None:
        victim = draw.choice(indexers)
        victim.kill()
        add_for(draw.uniform(0, 3))
        victim.start()

    def silent() -> None:
        victim = draw.choice(indexers)
        victim.child.send_signal(signal.SIGSTOP)
        add_for(SILENT_S)
        victim.child.send_signal(signal.SIGCONT)

    def away() -> None:
        source.signal(signal.SIGSTOP)
        time.sleep(draw.uniform(1, 6))
        source.signal(signal.SIGCONT)

    faults: list[Callable[[], None]] = [killed, silent, away]
    while time.monotonic() < end:
        add_for(draw.uniform(1, 8))
        fault = draw.choice(faults)
        print(f"{fault.__name__}: {truth.added} messages so far", flush=True)
        fault()


def verdict(source: RedisSource | KafkaSource, truth: Truth, dsn: str) -> int:
    """Wait until all is committed, and compare; return the exit code."""
    end = time.monotonic() + HEALED_S
    while source.stored() < truth.added and time.monotonic() < end:
        time.sleep(0.2)
    store = open_store(dsn)
    totals = [
        store.rows(f"SELECT sum(value) FROM counters_{name}")[0][0] for name in ("10s", "60s", "1h", "1d")
    ]
    ((noted,),) = store.rows("SELECT sum(messages) + sum(dead_letters) FROM commit_log")
    store.close()
    found = {
        "committed": (source.stored(), truth.added),
        "commit log": (noted, truth.added),
        "dead letters": (source.dead_letters(), truth.bad),
        **{f"rollup {n}": (total, truth.total) for n, total in enumerate(totals)},
    }
    for what, (got, wanted) in found.items():
        print(f"{what}: {got}, expected {wanted}{'' if got == wanted else '   WRONG'}")
    return int(any(got != wanted for got, wanted in found.values()))


if __name__ == "__main__":
    sys.exit(main())
