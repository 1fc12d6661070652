"""Sends random requests to indexer and API in one process, and says which were answered badly.

python -m tests.support.http_random SECONDS [SEED]

Bad is an answer of 500, a connection that closes without an answer, or none at all.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from agent.wire.frame import encode
from agent.wire.heartbeat import Heartbeat
from agent.wire.heartbeat import encode as encode_heartbeat
from indexer.clickhouse.store import Store, open_store
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from shim.model.tenancy import TenancySettings
from shim.service import ShimService
from shim.settings import ShimSettings
from tests.support.frames import counter_frame
from tests.support.http_texts import API_PATHS, INDEXER_PATHS, Requests

#: No answer takes longer, also on a busy machine.
ANSWER_S: Final = 120.0
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_MESSAGE: Final = {"org_id": 1, "project_id": 1, "name": "up", "type": "c", "value": 1, "tags": {"a": "b"}}
_CHANGES: Final[tuple[dict[str, object], ...]] = (
    {},
    {"type": "d", "value": [1.7e308, 1.7e308]},
    {"tags": {"9" * 5_000: 1}},
    {"value": 10**400},
    {"type": "s", "value": ["a", 1]},
    {"type": "g", "value": {"last": 1, "min": 1, "max": 1, "sum": 1, "count": 1}},
    {"timestamp": 1e300},
    {"timestamp": -1},
    {"org_id": 2**64},
    {"retention_days": 70_000},
    {"tags": {"\0": "\0"}},
    {"name": ""},
    {"name": "\ud800"},
    {"metric_id": 2**64},
    {"type": "s", "value": ["\ud800"]},
    {"type": "d", "value": []},
    {"tags": {"a": 0}},
    {"value": None},
    {"type": "d", "value": [1e-320, -0.0]},
)


@dataclass
class Report:
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[tuple[bytes, bytes]] = field(default_factory=list)  # request, answer


def bodies(now_s: int) -> tuple[bytes, ...]:
    """Good bodies, and some that are nearly good, to start from."""
    messages = [{**_MESSAGE, "timestamp": now_s, **change} for change in _CHANGES]
    deep = b'[{"org_id":' + b"[" * 5_000
    numbers = b'[{"org_id":1,"project_id":1,"name":"up","type":"d","timestamp":1,"value":[%b]}]'
    return (
        *(json.dumps([message]).encode() for message in messages),
        json.dumps(messages).encode(),
        numbers % (b"9" * 5_000),
        numbers % b"NaN,Infinity,1e400",
        deep,
        encode(counter_frame({"up": 1.0}, now_s)),
        b'{"agent":"a","epoch":1,"more":' + b"[" * 2_000,
        json.dumps([{**_MESSAGE, "timestamp": 10**400}]).encode(),
        encode_heartbeat(Heartbeat(agent="a", epoch=1, org_id=1, project_id=1)),
        msgspec.json.encode({"org_id": 1, "project_id": 1, "metrics": {}}),
    )


async def run(
    store: Store, folder: Path, seed: str, seconds: float, min_requests: int = 0, *, tokens: bool = False
) -> Report:
    """Send requests for some time, and at least some of them; with `tokens` both ask for credentials."""
    report = Report()
    journal = JournalSettings(path=str(folder / "journal.sqlite"))
    writers = {"secret": "*:* write,admin"} if tokens else {}
    tenancy = TenancySettings(mode="token", tokens={"secret": "1:*"}) if tokens else TenancySettings()
    indexer = IndexerService(Settings(listen="127.0.0.1:0", up=False, journal=journal, tokens=writers), store)
    api = ShimService(ShimSettings(listen="127.0.0.1:0", timeout_s=5.0, tenancy=tenancy), store=store)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(indexer.stop)
        stack.push_async_callback(api.stop)
        await indexer.start()
        await api.start()
        of_api = Requests(f"{seed}/api", API_PATHS)
        of_indexer = Requests(f"{seed}/indexer", INDEXER_PATHS, bodies(int(time.time())))
        end, sent = time.monotonic() + seconds, 0
        while time.monotonic() < end or sent < min_requests:
            round_of = [(api.port, *of_api.next()) for _ in range(4)]
            round_of += [(indexer.port, *of_indexer.next()) for _ in range(4)]
            await asyncio.gather(*(_send(report, *one) for one in round_of))
            sent += len(round_of)
    return report


async def _send(report: Report, port: int, method: bytes, request: bytes) -> None:
    answer = b""
    try:
        async with asyncio.timeout(ANSWER_S):
            answer = await _answer(port, request)
    except TimeoutError:
        answer = b"timeout"
    answer = answer.removeprefix(_CONTINUE)
    status = int(answer[9:12]) if answer[:7] == b"HTTP/1." else 0
    report.statuses[status] += 1
    if status in (0, 500) or status > 503:
        report.failures.append((request, answer))


async def _answer(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        answer = await reader.read(2_000)
        return answer if answer != _CONTINUE else answer + await reader.read(2_000)
    except ConnectionError as e:
        return repr(e).encode()
    finally:
        writer.transport.abort()


def main(seconds: float, seed: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"chdb://{folder}/chdb", pool=6)
        report = asyncio.run(run(store, Path(folder), seed, seconds / 2))
        closed = asyncio.run(run(store, Path(folder), seed, seconds / 2, tokens=True))
        report.statuses += closed.statuses
        report.failures += closed.failures
        store.close()
    print(f"seed {seed}: {dict(sorted(report.statuses.items()))}, {len(report.failures)} failures")
    for request, answer in report.failures[:20]:
        print(request[:300], "->", answer[:300])
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else str(time.time_ns())))
