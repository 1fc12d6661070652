"""Cost of distinct series to an agent: resident bytes of a core's process, as a curve, and exact totals.

    python -m tests.bench.agent_cardinality [--series 10000000] [--metrics 1] [--per-metric 200000]
        [--total 1000000] [--core native]

All series are counters that come once, a million in each bucket of 10 s, spread over `--metrics` names; a
bucket is flushed and made into frames when the next one begins. `--per-metric 0 --total 0`: without limits.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

from agent.core.interface import Core
from agent.settings import AgentSettings, AggregateSettings
from agent.wire.frame import Sender, decode, encode
from tests.support.cores.rows import CORES, new_core

_BATCH: Final = 1_000
_BUCKET: Final = 1_000_000
_NOW_MS: Final = 1_700_000_000_000
_SENDER: Final = Sender(agent="bench", epoch=1)
_PAGE_BYTES: Final = 4_096


def rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES / 2**20


def framed(core: Core, now_ms: int) -> tuple[float, int]:
    """Make all frames; return the sum of their counters, and their rows."""
    core.flush_all(now_ms)
    total, rows = 0.0, 0
    while frame := core.next_frame(_SENDER, 1, now_ms, max_rows=5_000, max_bytes=4 << 20):
        values = decode(encode(frame)).counters.value
        total += sum(memoryview(values).cast("d"))
        rows += frame.rows
    return total, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000_000)
    parser.add_argument("--metrics", type=int, default=1)
    parser.add_argument("--per-metric", type=int, default=AggregateSettings().max_metric_series)
    parser.add_argument("--total", type=int, default=AggregateSettings().max_total_series)
    parser.add_argument("--core", choices=CORES, default="native")
    args = parser.parse_args()
    aggregate = AggregateSettings(max_metric_series=args.per_metric, max_total_series=args.total)
    core = new_core(args.core, AgentSettings(aggregate=aggregate))
    print(f"{args.core} core, {aggregate.max_metric_series} a metric, {aggregate.max_total_series} in all")
    print(f"{'series':>12} {'RSS MiB':>9} {'highest':>9} {'rows':>10} {'us a line':>10}")
    total, highest = 0.0, 0.0
    for start in range(0, args.series, _BUCKET):
        now_ms = _NOW_MS + start // _BUCKET * 10_000
        cpu_s = 0.0
        end = min(start + _BUCKET, args.series)
        for first in range(start, end, _BATCH):
            numbers = range(first, min(first + _BATCH, end))
            batch = b"\n".join(b"m%d:1|c|#user:customer-%d" % (i % args.metrics, i) for i in numbers)
            began_s = time.process_time()
            core.add(batch, now_ms)
            cpu_s += time.process_time() - began_s
        highest = max(highest, rss_mib())
        added, rows = framed(core, now_ms)
        total += added
        highest = max(highest, rss_mib())
        cost_us = cpu_s / (end - start) * 1e6
        print(f"{end:>12,} {rss_mib():>9.0f} {highest:>9.0f} {rows:>10,} {cost_us:>10.2f}", flush=True)
    outcome = "exact" if total == args.series else "WRONG"
    print(f"lines {args.series:,}, sum of what was framed {total:,.0f}: {outcome}")


if __name__ == "__main__":
    main()
