"""How fast a backlog drains: an agent's spool into a real indexer, and the most that this indexer takes.

    python -m tests.bench.backlog [--series 1000,100000] [--rows 1500000] [--senders 16]

For each number of series: an outage's frames (one bucket of 10 s after the other, 5,000 rows a frame at
most) lie in `agent.spool.path`; `meterhouse agent` is started and sends them to `meterhouse indexer`
(embedded ClickHouse, defaults). Printed: rows a second and the multiple of real time, from the first
acknowledged frame to the last; the agent's memory before, at most and after. Then as many frames of another
run of the agent are sent by `--senders` connections, one frame in each request: the row rate that the
indexer reaches in the same run.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from agent.forward.spool.backlog import Backlog
from agent.forward.spool.record import EncodedFrame
from agent.wire.frame import CONTENT_TYPE, Counters, Frame, encode
from tests.bench.agent_lines import machine
from tests.bench.indexer_rows import series_columns
from tests.e2e.product import get, wait_for
from tests.support.ports import free_port

ROOT: Final = Path(__file__).parents[2]
FRAME_ROWS: Final = 5_000
START_S: Final = int(time.time()) // 86_400 * 86_400 - 86_400
_DEADLINE_S: Final = 900.0


def frames(series: int, rows: int, epoch: int) -> Iterator[EncodedFrame]:
    """Yield the frames of an outage: each series has a counter in each bucket."""
    rng = np.random.default_rng(epoch)
    parts = [slice(at, min(at + FRAME_ROWS, series)) for at in range(0, series, FRAME_ROWS)]
    numbers = itertools.count(1)
    for bucket, part in itertools.product(range(rows // series), parts):
        count = part.stop - part.start
        strings, columns = series_columns(count)
        strings[0] = f"http_requests_{part.start}"
        index = np.arange(count, dtype="<u4")
        value = rng.exponential(10.0, count).tobytes()
        buckets = np.full(count, START_S + 10 * bucket, "<u4").tobytes()
        number = next(numbers)
        frame = Frame(
            agent="bench", epoch=epoch, sequence=number, created_ms=time.time_ns() // 1_000_000,
            strings=strings, series=columns, counters=Counters(index.tobytes(), buckets, value),
            lines=count,
        )  # fmt: skip
        yield EncodedFrame(frame.identity, encode(frame), count, number, count, time.time_ns() // 1_000_000)


@contextmanager
def program(name: str, environ: dict[str, str], ready: str) -> Iterator[int]:
    """Run a command of Meterhouse until it is ready; yield its process id."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "meterhouse.py"), name],
            env={**os.environ, **environ},
            stdout=output,
            stderr=output,
        )
        try:
            wait_for(lambda: get(ready)[0] == 200 or process.poll() is not None, f"{name} is ready", 60)
            if process.poll() is not None:
                output.seek(0)
                raise RuntimeError(output.read().decode())
            yield process.pid
        finally:
            process.terminate()
            process.wait(60)


def memory_mb(pid: int, what: str) -> float:
    """Return a line of /proc/<pid>/status in MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition(f"{what}:")[2].split()[0]) / 1024


def metric(ops: str, name: str) -> float:
    """One number of the agent."""
    text = get(f"{ops}/metrics")[1].decode()
    return next(
        float(at.split(" ")[1]) for at in text.splitlines() if at.startswith(f"meterhouse_agent_{name} ")
    )


def drain(series: int, rows: int, url: str, folder: Path) -> float:
    """Let an agent drain a spool; return rows a second."""
    spool = folder / f"spool-{series}"
    backlog = Backlog(spool, 1 << 34, 1e9, lambda: time.time_ns() // 1_000_000)
    total = 0
    for parcel in frames(series, rows, epoch=1 + series):
        assert backlog.put(parcel)
        total += parcel.rows
    count, size = backlog.frames, backlog.bytes
    backlog.close()
    ops = f"http://127.0.0.1:{free_port()}"
    environ = {
        "METERHOUSE_AGENT__UDP": "127.0.0.1:0",
        "METERHOUSE_AGENT__TCP": "",
        "METERHOUSE_AGENT__OPS": ops.removeprefix("http://"),
        "METERHOUSE_AGENT__FORWARD__URL": url,
        "METERHOUSE_AGENT__SPOOL__PATH": str(spool),
        "METERHOUSE_AGENT__SPOOL__MAX_BYTES": str(1 << 34),
    }
    with program("agent", environ, f"{ops}/healthz") as pid:
        began_s, first = time.monotonic(), metric(ops, "sent_rows_total")
        first_mb = memory_mb(pid, "VmRSS")
        wait_for(lambda: metric(ops, "unsent_frames") == 0, "the spool is empty", _DEADLINE_S)
        took_s = time.monotonic() - began_s
        assert metric(ops, "sent_rows_total") == total, "rows were lost"
        high_mb, last_mb = memory_mb(pid, "VmHWM"), memory_mb(pid, "VmRSS")
    rate = (total - first) / took_s
    print(
        f"{series:,} series: {count:,} frames, {total:,} rows, {size / 1e6:.0f} MB in {took_s:.1f} s: "
        f"{rate:,.0f} rows/s, {rows // series * 10 / took_s:,.0f}x real time; "
        f"agent {first_mb:.0f} MB at the start, {high_mb:.0f} at most, {last_mb:.0f} after",
        flush=True,
    )
    return rate


def at_most(parcels: Sequence[EncodedFrame], address: str, senders: int) -> float:
    """Send frames by as many connections as the indexer has use for; return rows a second."""
    waiting = iter(parcels)
    lock = threading.Lock()

    def send() -> None:
        connection = http.client.HTTPConnection(address, timeout=60)
        while True:
            with lock:
                parcel = next(waiting, None)
            if parcel is None:
                return
            status = 0
            while status != 200:
                connection.request("POST", "/v1/frames", parcel.data, {"Content-Type": CONTENT_TYPE})
                response = connection.getresponse()
                response.read()
                status = response.status

    threads = [threading.Thread(target=send) for _ in range(senders)]
    began_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(parcel.rows for parcel in parcels) / (time.monotonic() - began_s)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.backlog", description=__doc__)
    parser.add_argument("--series", default="1000,100000")
    parser.add_argument("--rows", type=int, default=1_500_000)
    parser.add_argument("--senders", type=int, default=16)
    args = parser.parse_args()
    print(f"# {machine()}: {' '.join(sys.argv[1:])}", flush=True)
    with tempfile.TemporaryDirectory(prefix="meterhouse-bench-") as name:
        address = f"127.0.0.1:{free_port()}"
        environ = {
            "METERHOUSE_INDEXER__LISTEN": address,
            "METERHOUSE_INDEXER__DSN": f"chdb://{name}/chdb",
            "METERHOUSE_INDEXER__LIMITS__ROWS_PER_S": "0",
        }
        with program("indexer", environ, f"http://{address}/readyz"):
            for series in map(int, args.series.split(",")):
                at_most(
                    list(frames(series, series * 2, epoch=3 + series)), address, args.senders
                )  # known then
                best = at_most(list(frames(series, args.rows, epoch=2 + series)), address, args.senders)
                rate = drain(series, args.rows, f"http://{address}", Path(name))
                again = at_most(list(frames(series, args.rows, epoch=4 + series)), address, args.senders)
                most = max(best, again)
                print(
                    f"  the indexer takes {best:,.0f} and {again:,.0f} rows/s from {args.senders} senders: "
                    f"the backlog {100 * rate / most:.0f} % of the larger",
                    flush=True,
                )


if __name__ == "__main__":
    main()
