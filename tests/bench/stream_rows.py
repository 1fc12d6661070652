"""Rows per CPU second of messages from a Redis stream, and of the same messages over HTTP.

python -m tests.bench.stream_rows [--messages 100000] [--runs 3]

The messages are counters of 1,000 series with two tags, each a row of its own. Over HTTP a request has
5,000, as a batch of the stream has. CPU is that of the whole process of the indexer, embedded ClickHouse
included; the client and redis-server are others. The runs take turns; the best of each path counts.
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
from pathlib import Path
from typing import Any, Final

import msgspec
import redis

from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings, StreamSettings
from tests.support.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
BATCH: Final = 5_000
_SENDER: Final = """
import sys, urllib.request
for line in open(sys.argv[2], "rb"):
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], line, headers)).read()
"""


def bodies(messages: int) -> Iterator[list[bytes]]:
    """Yield batches of messages; each message is a row of its own."""
    now_s = int(time.time()) // 10 * 10 - 3_600
    for first in range(0, messages, BATCH):
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
            for i in range(first, min(first + BATCH, messages))
        ]


async def rows_per_cpu_s(messages: int, directory: Path, redis_url: str) -> float:
    """Run an indexer over the messages; `redis_url` empty: over HTTP."""
    settings = Settings(
        dsn=f"chdb://{directory}/chdb",
        listen="127.0.0.1:0",
        up=False,
        journal=JournalSettings(path=str(directory / "journal.sqlite")),
        stream=StreamSettings(url=redis_url, consumer="bench"),
    )
    service = IndexerService(settings)
    await service.start()
    began_s = time.process_time()
    if not redis_url:
        sender = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SENDER, f"{service.url}/v1/messages", str(directory / "lines")
        )
        assert await sender.wait() == 0
    deadline_s = time.monotonic() + 300
    while service.status().rows < messages:
        assert time.monotonic() < deadline_s, "not all messages are stored"
        await asyncio.sleep(0.01)
    used_s = time.process_time() - began_s
    await service.stop()
    return messages / used_s


def one_run(path: str, messages: int, directory: Path) -> None:
    """Prepare the messages and print the rows per CPU second; a process of its own."""
    if path == "http":
        lines = (b"[" + b",".join(batch) + b"]\n" for batch in bodies(messages))
        (directory / "lines").write_bytes(b"".join(lines))
        print(asyncio.run(rows_per_cpu_s(messages, directory, "")))
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


def measure(path: str, messages: int) -> float:
    """Return the rows per CPU second of one run in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        program = [sys.executable, "-m", "tests.bench.stream_rows", "--messages", str(messages)]
        out = subprocess.run(
            [*program, "--path", path, "--directory", directory],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return float(out.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--path", choices=("http", "stream"), help="one run of one path, in this process")
    parser.add_argument("--directory", type=Path, help="of that run")
    args = parser.parse_args()
    if args.path:
        one_run(args.path, args.messages, args.directory)
        return
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(f"{platform.processor() or platform.machine()}, commit {commit.stdout.strip()}")
    found: dict[str, list[float]] = {"http": [], "stream": []}
    for _ in range(args.runs):
        for path, rates in found.items():
            rates.append(measure(path, args.messages))
    for path, rates in found.items():
        of_runs = ", ".join(f"{rate:,.0f}" for rate in rates)
        print(f"{path:8} {max(rates):10,.0f} rows per CPU second (runs: {of_runs})")
    print(f"stream / http: {max(found['stream']) / max(found['http']):.2f}")


if __name__ == "__main__":
    main()
