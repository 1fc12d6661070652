"""Rows per CPU second of messages from a Redis stream and a Kafka topic, and of the same over HTTP.

python -m tests.bench.stream_rows [--messages 60000] [--runs 5] [--requests 5000]

The messages are counters of 1,000 series with two tags, each a row of its own. Over HTTP a request has
5,000 (or `--requests`); a batch of a stream has up to 10,000, as many as wait. CPU is that of the whole
process of the indexer, embedded ClickHouse included; the client and the servers of the streams are others.
The runs take turns, so those of one turn have the same neighbours: the ratio is the mean of the turns'
logarithms, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from math import exp, log
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

import msgspec
import redis

from indexer.service import IndexerService
from indexer.settings import JournalSettings, KafkaSettings, Settings, StreamSettings
from tests.support.kafka_cluster import KafkaCluster
from tests.support.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
BATCH: Final = 5_000
_SENDER: Final = """
import sys, urllib.request
for line in open(sys.argv[2], "rb"):
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], line, headers)).read()
"""


def bodies(messages: int, size: int = BATCH) -> Iterator[list[bytes]]:
    """Yield batches of messages; each message is a row of its own."""
    now_s = int(time.time()) // 10 * 10 - 3_600
    for first in range(0, messages, size):
        yield [
            msgspec.json.encode(
                {
                    "org_id": 1,
                    "project_id": 1,
                    "name": "requests",
                    "timestamp": now_s + i // 1_000 % 300 * 10,
                    "tags": {"host": f"host-{i % 100}", "route": f"/r/{i // 100 % 10}"},
                    "type": "c",
                    "value": i % 7,
                    "retention_days": 90,
                }
            )
            for i in range(first, min(first + size, messages))
        ]


#: Student's t for 95 %, by degrees of freedom from 1.
_T95: Final = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


async def rows_per_cpu_s(messages: int, directory: Path, redis_url: str = "", brokers: str = "") -> float:
    """Run an indexer over the messages; without a stream: over HTTP."""
    settings = Settings(
        dsn=f"chdb://{directory}/chdb",
        listen="127.0.0.1:0",
        up=False,
        journal=JournalSettings(path=str(directory / "journal.sqlite")),
        stream=StreamSettings(url=redis_url, consumer="bench"),
        kafka=KafkaSettings(brokers=brokers),
    )
    service = IndexerService(settings)
    await service.start()
    began_s = time.process_time()
    if not redis_url and not brokers:
        sender = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SENDER, f"{service.url}/v1/messages", str(directory / "lines")
        )
        assert await sender.wait() == 0
    deadline_s = time.monotonic() + 90
    while service.status().rows < messages:
        assert time.monotonic() < deadline_s, "not all messages are stored"
        await asyncio.sleep(0.01)
    used_s = time.process_time() - began_s
    await service.stop()
    return messages / used_s


def one_run(path: str, messages: int, directory: Path, requests: int = BATCH) -> None:
    """Prepare the messages and print the rows per CPU second; a process of its own."""
    if path == "http":
        lines = (b"[" + b",".join(batch) + b"]\n" for batch in bodies(messages, requests))
        (directory / "lines").write_bytes(b"".join(lines))
        print(asyncio.run(rows_per_cpu_s(messages, directory)))
        return
    if path == "kafka":
        cluster = KafkaCluster()
        for number, batch in enumerate(bodies(messages)):  # a partition keeps 5 MiB, about 20,000 messages
            cluster.add("generic-metrics", *batch, partition=number % 4)
        try:
            print(asyncio.run(rows_per_cpu_s(messages, directory, brokers=cluster.brokers)))
        finally:
            cluster.stop()
        return
    server = RedisServer(directory)
    server.start()
    client: Any = redis.Redis.from_url(server.url)
    for batch in bodies(messages):
        with client.pipeline(transaction=False) as pipe:
            for body in batch:
                pipe.xadd("metrics", {"message": body})
            pipe.execute()
    try:
        print(asyncio.run(rows_per_cpu_s(messages, directory, server.url)))
    finally:
        server.stop()


def measure(path: str, messages: int, requests: int) -> float:
    """Return the rows per CPU second of one run in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        program = [sys.executable, "-m", "tests.bench.stream_rows", "--messages", str(messages)]
        out = subprocess.run(
            [*program, "--requests", str(requests), "--path", path, "--directory", directory],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return float(out.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=60_000)
    parser.add_argument("--requests", type=int, default=BATCH, help="messages of a request over HTTP")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--path", choices=("http", "stream", "kafka"), help="one run of one path, in this process"
    )
    parser.add_argument("--directory", type=Path, help="of that run")
    args = parser.parse_args()
    if args.path:
        one_run(args.path, args.messages, args.directory, args.requests)
        return
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(f"{platform.processor() or platform.machine()}, commit {commit.stdout.strip()}")
    found: dict[str, list[float]] = {"http": [], "stream": [], "kafka": []}
    for _ in range(args.runs):
        for path, rates in found.items():
            rates.append(measure(path, args.messages, args.requests))
    for path, rates in found.items():
        of_runs = ", ".join(f"{rate:,.0f}" for rate in rates)
        print(f"{path:8} {max(rates):10,.0f} rows per CPU second (runs: {of_runs})")
    for path in ("stream", "kafka"):
        print(f"{path} / http: {ratio(found[path], found['http'])}")


def ratio(rates: list[float], others: list[float]) -> str:
    """Return the ratio of paired runs with its 95 % interval."""
    logs = [log(a / b) for a, b in zip(rates, others, strict=True)]
    if len(logs) < 2:
        return f"{exp(logs[0]):.2f}"
    half = _T95[min(len(logs) - 1, len(_T95)) - 1] * stdev(logs) / len(logs) ** 0.5
    middle = fmean(logs)
    return f"{exp(middle):.2f} ({exp(middle - half):.2f} to {exp(middle + half):.2f})"


if __name__ == "__main__":
    main()
