"""Cost of many frames that are set aside: the list, the gauges, a deletion's look, and the journal beside.

python -m tests.bench.set_aside [--batches 100000] [--frames 1] [--damaged 1000]

Makes a journal with `--batches` set-aside batches of `--frames` small frames, of 50 orgs, and prints the CPU
milliseconds of each look at them. Then as many batches as `--damaged`, each with a damaged frame, are retried
while others are written: prints how long a write took alone and beside. The INSERT of a batch is a sleep of
20 ms and a look-up of identities one of 10 ms, both in the writer's thread as they are in the indexer.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from indexer.clickhouse.retention import Retention
from indexer.deletion.unsettled_batches import unsettled_batches
from indexer.metrics import Metrics
from indexer.receive.set_aside_http import listed
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_state import BatchState
from indexer.write.damaged_batches import DamagedBatches
from indexer.write.health import Health
from indexer.write.identity import frame_identity
from indexer.write.journal import Journal
from indexer.write.set_aside_batches import FailedAttempt, SetAsideBatches
from tests.bench.agent_lines import machine
from tests.support.frames import counter_frame, unit

_ORGS: Final = 50
_ROWS: Final = 20
_INSERT_S: Final = 0.02
_LOOK_UP_S: Final = 0.01
#: Seconds that writes are measured alone, and between two of them.
_ALONE_S: Final = 5.0
_EVERY_S: Final = 0.05


def frame(number: int) -> AcceptedFrame:
    """Return a small frame of one of the orgs."""
    values = {f"host-{n}": float(number) for n in range(_ROWS)}
    made = counter_frame(values, 0, sequence=number, org_id=1 + number % _ORGS)
    return replace(unit(made), identity=frame_identity(made, 0), digest=b"d" * 16, kept=Retention())


def journal_of(path: Path, batches: int, frames: int) -> Journal:
    """Return a journal with set-aside batches, quickly made."""
    journal = Journal(path, max_identities=10**8, max_age_ms=1 << 40, max_aside_bytes=1 << 33)
    journal._db.execute("PRAGMA synchronous = OFF")
    for number in range(batches):
        first = number * frames
        journal.begin(f"token-{number}", [frame(first + n) for n in range(frames)], 0)
    with journal.transaction() as db:
        db.execute("UPDATE batch SET state = ?, reason = 'ClickHouse lacks a table'", (BatchState.ASIDE,))
    return journal


def looks(journal: Journal) -> None:
    """Print the cost of each look at all batches."""

    def timed(name: str, call: Callable[[], Any]) -> Any:
        began = time.process_time()
        found = call()
        print(f"| {name} | {(time.process_time() - began) * 1000:,.0f} |", flush=True)
        return found

    print("| look | CPU ms |\n|---|---:|")
    document = timed("`set-aside list`", lambda: listed(journal.kept(), journal.count_kept()))
    timed("gauges of a scrape", lambda: (journal.oldest_waiting_ms(), journal.count_kept()))
    timed("one more is set aside", lambda: set_aside(journal))
    timed("a deletion of an org without them", lambda: unsettled_batches(journal, _ORGS + 1))
    found = timed("a deletion of an org with them", lambda: unsettled_batches(journal, 1))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    size = len(msgspec.json.encode(document))
    print(f"\nlist of {size:,} bytes, {len(found):,} batches hold a deletion up, peak RSS {peak_mb} MB")


def set_aside(journal: Journal) -> None:
    journal.begin("more", [frame(1 << 40)], 0)
    assert journal.set_aside("more", 0, "waits")


class _Counter(logging.Handler):
    """Counts lines of the log."""

    lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        del record
        self.lines += 1


async def beside(journal: Journal) -> None:
    """Retry all batches while others are written."""
    threads, counter = ThreadPoolExecutor(1), _Counter()
    logging.getLogger().addHandler(counter)
    logging.getLogger().setLevel(logging.INFO)
    writes_s: list[float] = []

    async def here(call: Callable[..., Any], *args: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(threads, call, *args)

    def stored_of(_: Collection[str]) -> Collection[str]:
        time.sleep(_LOOK_UP_S)
        return ()

    async def attempt(token: str, units: Sequence[AcceptedFrame]) -> FailedAttempt | None:
        del units
        await here(time.sleep, _INSERT_S)
        await here(journal.finish, token, 0)
        return None

    async def write() -> None:
        number = 1 << 41
        while True:
            number += 1
            began, one = time.monotonic(), frame(number)
            journal.find(one.identity)
            await here(journal.begin, str(number), [one], 0)
            await attempt(str(number), [one])
            writes_s.append(time.monotonic() - began)
            await asyncio.sleep(_EVERY_S)

    over = asyncio.Event()
    metrics = Metrics()
    damaged = DamagedBatches(journal, stored_of, metrics, Health())
    aside = SetAsideBatches(journal, here, attempt, lambda: 0, damaged, metrics.mistake, over.set)
    task = asyncio.create_task(write())
    await asyncio.sleep(_ALONE_S)
    alone, began = len(writes_s), time.monotonic()
    aside.start()
    await over.wait()
    print(f"retried in {time.monotonic() - began:.0f} s, {counter.lines:,} lines in the log")
    for name, some in (("alone", writes_s[:alone]), ("beside", writes_s[alone:])):
        p50, p99 = np.percentile(some, (50, 99)) * 1000
        print(f"a write {name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    task.cancel()
    await aside.stop()


def damage(journal: Journal) -> None:
    """Damage the first frame of each batch."""
    with journal.transaction() as db:
        db.execute("DROP TRIGGER frame_changed")
        db.execute(
            "UPDATE frame SET body = substr(body, 1, 20) || x'00' || substr(body, 22) WHERE position = 0"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--damaged", type=int, default=1_000)
    args = parser.parse_args()
    print(f"# {machine()}: {' '.join(sys.argv[1:])}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if args.batches:
            journal = journal_of(Path(folder) / "many.sqlite", args.batches, args.frames)
            looks(journal)
            journal.close()
        if args.damaged:
            journal = journal_of(Path(folder) / "damaged.sqlite", args.damaged, 2)
            damage(journal)
            asyncio.run(beside(journal))
            journal.close()


if __name__ == "__main__":
    main()
