"""Gain of each form of reading cells: CPU of one query with the form, beside the same query without it.

python -m tests.bench.reading_forms [--series 100] [--hours 6] [--rounds 15]

Counters, gauges and distributions at 10 s in an embedded store of its own; whole queries, without HTTP.
A pair is one query both ways, in turn first; CPU is that of the process, ClickHouse's threads included. The
ratio is the geometric mean over the pairs, with its 95 % interval. "Without" is the form that answers then.
"""

from __future__ import annotations

import argparse
import math
import os
import pkgutil
import platform
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.store import Store, open_store
from shim.model.grid import Grid
from shim.settings import CacheSettings
from tests.support.pipeline import Pipeline

NOW_S: Final = 20_400 * 86_400
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
GROUPS: Final = 10
WARM_DEADLINE_S: Final = 30.0


class Case(NamedTuple):
    """One form, a query that uses it, and how to do without it. `used`: the function that reads so."""

    form: str
    used: str
    instead: str
    query: str
    step_s: int
    without: Callable[[], AbstractContextManager[Any]] = nullcontext
    few_rows: int | None = None  # of the pipeline that does without
    cached: bool = False  # with: cells in memory; without: `nocache`


def _patched(name: str, value: object) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch(name, value)


def _never(*_: object) -> bool:
    return False


def _always(*_: object) -> bool:
    return True


CELLS: Final = "shim.read.cell_statements"
BUCKETS: Final = "shim.read.histogram_buckets"
GAUGES: Final = "shim.read.gauges"
MEMORY: Final = "shim.read.cell_cache"
SKETCHES: Final = "histogram_quantile(0.9, sum by (m) (rate(lat[5m])))"
FAR: Final = "histogram_quantile(0.9, sum by (m) (rate(far[5m])))"
CASES: Final = (
    Case("rows", f"{CELLS}.read_rows", "hashed", 'sum(rate(hits{n=~"[123]"}[5m]))', 60, few_rows=0),
    Case("plain", f"{CELLS}._read_plain", "arrays", "rate(hits[1m])", 60,
         _patched(f"{CELLS}._as_plain", _never)),
    Case("resampled arrays", f"{CELLS}._read_blocks", "hashed", "rate(hits[5m])", 300,
         _patched(f"{CELLS}._as_blocks", _never)),
    Case("chunks in memory", f"{MEMORY}.lookup._Making", "a statement", "sum by (m) (rate(hits[5m]))", 60,
         cached=True),
    Case("chunks of sketches", f"{MEMORY}.histogram_cache._pieces", "a statement", SKETCHES, 60, cached=True),
    Case("gauges in matrices", f"{GAUGES}._fetched", "merged rows", "max by (m) (temp)", 60,
         _patched(f"{GAUGES}._MOST_CELLS", 0)),
    Case("dense sketches", f"{BUCKETS}._dense", "sparse", SKETCHES, 60,
         _patched(f"{BUCKETS}._is_dense", _never)),
    Case("sparse sketches", f"{BUCKETS}._sparse", "dense", FAR, 600,
         _patched(f"{BUCKETS}._is_dense", _always)),
)  # fmt: skip


def lines(series: int, hours: int) -> Iterator[list[str]]:
    """Yield the lines of each hour; observations of `far` are many powers of two apart."""
    choose = random.Random(3)
    for hour in range(hours):
        out = []
        for age_s in range(5 + hour * 3_600, 5 + (hour + 1) * 3_600, 10):
            for n in range(series):
                at = f"|#n:{n},m:{n % GROUPS}|T{NOW_S - age_s}"
                out += [f"hits:{choose.randrange(1, 50)}|c{at}", f"temp:{choose.random():.3f}|g{at}"]
                if n % 2 == 0:
                    out.append(f"lat:{choose.lognormvariate(3, 0.7):.3f}|d{at}")
                if age_s % 600 == 5 and n < GROUPS:
                    out.append(f"far:{10 ** choose.uniform(-12, 12):.4g}|d{at}")
        yield out


def ask(pipeline: Pipeline, case: Case, hours: int, *, nocache: bool = False) -> float:
    """Return the CPU of one query in ms."""
    before = time.process_time()
    found = pipeline.range(case.query, NOW_S - hours * 3_600, NOW_S, case.step_s, nocache=nocache)
    spent = time.process_time() - before
    assert found, case.query
    return spent * 1_000


def warm(pipeline: Pipeline, case: Case, hours: int) -> None:
    """Ask until nothing is read by statement, so that memory holds all cells."""
    assert pipeline.blocks is not None
    deadline_s = time.monotonic() + WARM_DEADLINE_S
    while time.monotonic() < deadline_s:
        grid_s = NOW_S - hours * 3_600, NOW_S, case.step_s
        statements = _statements(pipeline, case, grid_s)
        if not statements:
            return
        time.sleep(0.2)
    raise SystemExit(f"not in memory after {WARM_DEADLINE_S:.0f} s: {case.query}")


def _statements(pipeline: Pipeline, case: Case, grid_s: tuple[int, int, int]) -> int:
    grid = Grid(*(one * 1_000 for one in grid_s))
    explain = pipeline.answer(case.query, grid, instant=False, explain=True).explain
    assert explain is not None
    return sum("_10s" in s["sql"] or "_60s" in s["sql"] for s in explain["statements"])


def pairs(case: Case, ways: Mapping[str, Pipeline], hours: int, rounds: int) -> list[tuple[float, float]]:
    """Return the CPU with the form and without it, of each pair."""
    own = ways["memory" if case.cached else "statements"]
    other = ways["no rows"] if case.few_rows == 0 else own
    if case.cached:
        warm(own, case, hours)
    check_use(case, own, other, hours)
    out = []
    for number in range(rounds + 2):
        spent: dict[bool, float] = {}
        for without in (True, False) if number % 2 else (False, True):
            with case.without() if without else nullcontext():
                spent[without] = ask(other if without else own, case, hours, nocache=without and case.cached)
        if number >= 2:
            out.append((spent[False], spent[True]))
    return out


def check_use(case: Case, own: Pipeline, other: Pipeline, hours: int) -> None:
    """Exit unless the query uses the form, and does not when it should not."""
    for pipeline, without in ((own, False), (other, True)):
        how = case.without() if without else nullcontext()
        with how, patch(case.used, wraps=pkgutil.resolve_name(case.used)) as used:
            ask(pipeline, case, hours, nocache=without and case.cached)
        if used.called == without:
            raise SystemExit(f"{case.form}: {'used' if used.called else 'not used'} by {case.query}")


def report(case: Case, found: list[tuple[float, float]]) -> None:
    logs = [math.log(without / own) for own, without in found]
    mean, half = fmean(logs), 1.96 * stdev(logs) / math.sqrt(len(logs))
    own, without = (median(column) for column in zip(*found, strict=True))
    print(
        f"| {case.form} | `{case.query}` at {case.step_s} s | {own:.1f} | {case.instead}: {without:.1f}"
        f" | {math.exp(mean):.2f}x ({math.exp(mean - half):.2f} .. {math.exp(mean + half):.2f}) |",
        flush=True,
    )


def run(store: Store, series: int, hours: int, rounds: int) -> None:
    at_ms = NOW_S * 1_000
    ways = {
        "statements": Pipeline.open(store, at_ms, retention=KEPT),
        "no rows": Pipeline.open(store, at_ms, retention=KEPT, few_rows=0),
        "memory": Pipeline.open(store, at_ms, retention=KEPT, cache=CacheSettings(max_bytes=1 << 30)),
    }
    for one in lines(series, hours):
        ways["statements"].send(one)
    print("| form | query | CPU ms | without it | CPU ratio (95 % interval) |\n|---|---|---:|---:|---:|")
    for case in CASES:
        report(case, pairs(case, ways, hours, rounds))
    for way in ways.values():
        way.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--hours", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    print(f"# {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {args}")
    print(f"# load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        store = open_store(f"chdb://{Path(directory) / 'forms'}", pool=2)
        migrate(store, KEPT)
        run(store, args.series, args.hours, args.rounds)
        store.close()


if __name__ == "__main__":
    main()
