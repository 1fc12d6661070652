"""Queries of gauges, distributions and sets against peers: the panels of a dashboard besides counters.

python -m tests.bench.peer_kinds [--hours 24] [--rounds 5] [--cold 2]
    [--victoria-metrics PROGRAM] [--only WORD]

200 gauges, 100 distributions of 20 observations a bucket and 10 sets of 20 members a bucket, a day at 10 s.
Prometheus and VictoriaMetrics get the same gauges, and of each distribution a classic histogram of
Prometheus' default buckets, as their users have. They have nothing like sets. Tables are as in
`tests.bench.peers`; a percentile out of eleven buckets is not the one out of the sketch, so answers are
compared within a factor.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agent.aggregate.exponential_buckets import EDGES, PER_OCTAVE
from agent.wire.frame import Distributions, Frame, Gauges, SeriesColumns, Sets, encode
from tests.bench.indexer_rows import START_S
from tests.bench.peer_servers import BUCKET_S, Family, Load, Peers, Query
from tests.bench.peers import compare, first, parser_of_peers, table, warm

_HOSTS: Final = 50
_CORES: Final = 4
_SHARDS: Final = 10
_ROUTES: Final = 10
_OBSERVATIONS: Final = 20
_MEMBERS: Final = 20
_USERS: Final = 5_000
#: Prometheus' default buckets.
_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, np.inf)
#: Seconds after a bucket's start at which its gauges have their time.
_GAUGE_S: Final = 5
_BUCKETS_A_FRAME: Final = 60
#: Percentiles of two layouts of buckets lie so far apart at most.
_TOLERANCE: Final = 1.0

Values = npt.NDArray[np.float64]


def queries(hours: int) -> list[Query]:
    end = START_S + hours * 3_600

    def over(text: str, length_h: int, step_s: int, of_peers: str = "", skip_s: int = 300) -> Query:
        length_h = min(length_h, hours)
        start = end - length_h * 3_600 + (skip_s if length_h == hours else 0)
        parameters = {"start": start, "end": end, "step": step_s}
        return Query(
            text, "query_range", parameters, f"{length_h} h at {step_s} s", length_h == hours, of_peers
        )

    def p99(by: str, window: str) -> str:
        return f"histogram_quantile(0.99, sum by (le, {by}) (rate(latency_bucket[{window}])))"

    return [
        over("avg by (host) (cpu)", 24, 60),
        over("max by (host) (max_over_time(cpu[5m]))", 24, 60),
        over("avg_over_time(cpu[5m])", 6, 60),
        over(p99("route", "5m"), 24, 60),
        over("histogram_quantile(0.99, sum by (route) (rate(latency[5m])))", 24, 60, p99("route", "5m")),
        over("histogram_quantile(0.99, sum(rate(latency[1h])))", 24, 3_600,
             "histogram_quantile(0.99, sum by (le) (rate(latency_bucket[1h])))", 3_600),
        over("quantile_over_time(0.99, latency[1h])", 24, 3_600, p99("route, shard", "1h"), 3_600),
        over("max by (route) (max_over_time(latency[5m]))", 24, 60,
             "histogram_quantile(1, sum by (le, route) (rate(latency_bucket[5m])))"),
    ]  # fmt: skip


def alone(hours: int) -> list[Query]:
    """Return the queries that peers have nothing for."""
    end = START_S + hours * 3_600
    by_hour = {"start": START_S + 3_600, "end": end, "step": 3_600}
    return [
        Query("sum by (route) (uniq_over_time(users[1h]))", "query_range", by_hour, f"{hours} h at 3600 s"),
        Query("sum(users)", "query_range", {**by_hour, "step": 60}, f"{hours} h at 60 s"),
    ]


# ---------------------------------------------------------------- samples


def load(hours: int) -> Load:
    rng = np.random.default_rng(7)
    buckets = hours * 3_600 // BUCKET_S
    walks = np.cumsum(rng.normal(0, 1, (_HOSTS * _CORES, buckets)), axis=1)
    cpu: Values = np.round(np.abs(50 + walks), 2).astype(np.float64)
    times = rng.lognormal(np.log(0.1), 0.8, (_SHARDS * _ROUTES, buckets, _OBSERVATIONS))
    users = rng.integers(0, _USERS, (_ROUTES, buckets, _MEMBERS)).astype("<u8")
    users *= np.uint64(0x9E3779B97F4A7C15)  # members are hashes
    counts = np.stack([(times <= bound).sum(axis=2) for bound in _BOUNDS], axis=1)
    totals = np.cumsum(counts, axis=2).reshape(-1, buckets).astype(np.float64)
    labels = [
        {**one, "le": "+Inf" if np.isinf(bound) else f"{bound}"} for one in _latency() for bound in _BOUNDS
    ]
    families = [Family("cpu", _cpu(), cpu, _GAUGE_S), Family("latency_bucket", labels, totals)]
    return Load(list(_frames(cpu, times, users)), families)


def _cpu() -> list[dict[str, str]]:
    return [{"core": str(c), "host": f"host-{h:04d}"} for h in range(_HOSTS) for c in range(_CORES)]


def _latency() -> list[dict[str, str]]:
    return [{"route": f"/route-{r}", "shard": str(s)} for s in range(_SHARDS) for r in range(_ROUTES)]


def _frames(cpu: Values, times: Values, users: npt.NDArray[np.uint64]) -> Iterator[bytes]:
    named = [("cpu", one) for one in _cpu()]
    named += [("latency", one) for one in _latency()]
    named += [("users", {"route": f"/route-{r}"}) for r in range(_ROUTES)]
    strings, series = _series(named)
    for number, begin in enumerate(range(0, cpu.shape[1], _BUCKETS_A_FRAME)):
        some = slice(begin, begin + _BUCKETS_A_FRAME)
        start_s = START_S + begin * BUCKET_S
        yield encode(
            Frame(
                agent="bench-kinds", epoch=1, sequence=number, created_ms=0, strings=strings, series=series,
                gauges=_gauges(cpu[:, some], start_s),
                distributions=_distributions(times[:, some], start_s, len(cpu)),
                sets=_sets(users[:, some], start_s, len(cpu) + len(times)),
            )
        )  # fmt: skip


def _series(named: Sequence[tuple[str, dict[str, str]]]) -> tuple[list[str], SeriesColumns]:
    at: dict[str, int] = {}
    keys, values, lengths, names = [], [], [], []
    for name, labels in named:
        names.append(at.setdefault(name, len(at)))
        lengths.append(len(labels))
        for key, value in sorted(labels.items()):
            keys.append(at.setdefault(key, len(at)))
            values.append(at.setdefault(value, len(at)))
    columns = (
        np.array(c, t).tobytes()
        for c, t in ((names, "<u4"), (lengths, "<u2"), (keys, "<u4"), (values, "<u4"))
    )
    return list(at), SeriesColumns(*columns)


def _keys(series: int, buckets: int, start_s: int, first: int) -> tuple[bytes, bytes]:
    """Return the columns `series` and `bucket` of rows that go by series and then by bucket."""
    index = np.repeat(np.arange(first, first + series), buckets)
    bucket = np.tile(start_s + BUCKET_S * np.arange(buckets), series)
    return index.astype("<u4").tobytes(), bucket.astype("<u4").tobytes()


def _gauges(cpu: Values, start_s: int) -> Gauges:
    """One value a bucket, as a scrape would see it."""
    index, bucket = _keys(len(cpu), cpu.shape[1], start_s, 0)
    last_ms = (np.frombuffer(bucket, "<u4").astype("<i8") + _GAUGE_S) * 1000
    value = cpu.tobytes()
    return Gauges(index, bucket, last_ms.tobytes(), value, value, value, value, np.ones(cpu.size).tobytes())


def _distributions(times: Values, start_s: int, first: int) -> Distributions:
    rows = times.reshape(-1, _OBSERVATIONS)
    mantissa, exponent = np.frexp(rows)
    index = np.searchsorted(EDGES, mantissa) + PER_OCTAVE * (exponent - 1)
    index = np.sort(index, axis=1)
    new = np.diff(index, axis=1, prepend=np.iinfo(np.int32).min) != 0
    starts = np.flatnonzero(new)
    counts = np.diff(starts, append=index.size).astype("<f8")
    count, zero = np.full(len(rows), float(_OBSERVATIONS)), np.zeros(len(rows))
    moments: list[Any] = [count, rows.sum(1), (rows * rows).sum(1), rows.min(1), rows.max(1), zero]
    lengths = new.sum(axis=1).astype("<u4").tobytes()
    buckets = [lengths, index[new].astype("<i4").tobytes(), counts.tobytes(), zero.astype("<u4").tobytes()]
    key = _keys(len(times), times.shape[1], start_s, first)
    columns: list[bytes] = [*key, *(m.tobytes() for m in moments), *buckets]
    return Distributions(*columns)


def _sets(users: npt.NDArray[np.uint64], start_s: int, first: int) -> Sets:
    length = np.full(users.shape[0] * users.shape[1], _MEMBERS, "<u4")
    return Sets(*_keys(len(users), users.shape[1], start_s, first), length.tobytes(), users.tobytes())


# ---------------------------------------------------------------- the run


def main() -> None:
    args = parser_of_peers().parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    print(f"# {platform.machine()}, {os.cpu_count()} CPUs, {platform.python_version()}, commit {commit}")
    asked = [q for q in queries(args.hours) if args.only in q.text]
    ours = [q for q in alone(args.hours) if args.only in q.text]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        peers = Peers(Path(directory), shutil.which(args.victoria_metrics))
        try:
            samples = load(args.hours)
            peers.fill_prometheus(samples)
            servers = peers.start()
            peers.fill_running(samples, servers)
            del samples
            print(f"# filled {', '.join(s.name for s in servers)}", flush=True)
            for server in servers:
                server.settle()
            for query in asked:
                compare(query, servers, _TOLERANCE)
            if asked:
                table("Warm", asked, {q.text: warm(q, servers, args.rounds) for q in asked})
            if ours:
                own = [s for s in servers if s.is_ours]
                table("Sets, warm", ours, {q.text: warm(q, own, args.rounds) for q in ours})
            peers.stop()
            if args.cold and asked:
                table("First after a restart", asked, first(peers, asked, args.cold))
        finally:
            peers.clear()


if __name__ == "__main__":
    main()
