"""Where answers have their edges: now, the end of a series, odd times, expired rows, limits."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.clickhouse.schema import Retention
from indexer.clickhouse.store import Store
from shim.catalog import Catalog
from shim.engine.api import QueryOptions
from shim.engine.engine import QueryEngine
from shim.model.errors import BadData, ExecutionError, TimedOut
from shim.model.grid import Grid
from shim.model.labels import Labels, get
from shim.model.values import Samples, Vector
from shim.settings import ShimSettings
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

NOW_S = 20_400 * 86_400 + 12 * 3_600
DATABASE = "engine_edges"
KEPT = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
DAY_S = 86_400


def lines() -> Iterator[str]:
    """`beat` and its kin: 20 min until 4 s ago, all buckets alike. `ended`: ended 10 min ago."""
    for t in range(NOW_S - 1_200, NOW_S - 3):
        yield f"beat:1|c|#host:a|T{t}"
        yield f"beat_latency:{1 + t % 2}|d|T{t}"
        yield f"beat_users:u{t % 10}|s|T{t}"
    for t in range(NOW_S - 1_200, NOW_S - 600, 10):
        yield f"ended:1|c|#host:a|T{t}"
        yield f"ended_latency:1|d|T{t}"
        yield f"ended_users:x|s|T{t}"
        yield f"ended_level:1|g|T{t}"
    for k in range(3 * 8_640):  # three days of one number a bucket, all different
        yield f"days:{k}|c|T{NOW_S - 3 * DAY_S + 10 * k}"
    for k in range(0, 3 * 8_640, 60):
        yield f"level:{k}|g|T{NOW_S - 3 * DAY_S + 10 * k}"
        yield f"wait:{k}|d|T{NOW_S - 3 * DAY_S + 10 * k}"
        yield f"people:p{k}|s|T{NOW_S - 3 * DAY_S + 10 * k}"


@pytest.fixture(scope="module")
def p(chdb_path: Path) -> Iterator[Pipeline]:
    with embedded(chdb_path, DATABASE) as store:
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        pipeline.send(lines())
        yield pipeline
        pipeline.close()


@contextmanager
def other(p: Pipeline, now_s: float = NOW_S, **settings: object) -> Iterator[Pipeline]:
    """Yield the same data seen by an engine with other settings, at another time."""
    shim = ShimSettings(**{"settle_s": 0.0, "retention": KEPT, **settings})  # type: ignore[arg-type]
    engine = QueryEngine(p.store, Catalog(p.store, shim), shim, now_s=lambda: now_s)
    yield replace(p, engine=engine)
    engine.close()


def notes(p: Pipeline, query: str, at_s: float) -> list[str]:
    return p.answer(query, Grid.instant(round(at_s * 1000))).notes.infos


# ---------------------------------------------------------------- the live edge


@pytest.mark.parametrize("step_s", [10, 15, 60])
def test_rates_do_not_dip_at_the_right_end(p: Pipeline, step_s: int) -> None:
    """A graph ends at its last complete step; at one moment the last complete bucket answers."""
    queries = {
        "rate(beat[1m])": 1.0, "sum(increase(beat[30s]))": 30.0, "rate(beat_latency_count[1m])": 1.0,
        "histogram_sum(rate(beat_latency[1m]))": 1.5, "count_over_time(beat_latency[20s])": 20.0,
        "sum(sum_over_time(beat_users[10s]))": 10.0, "avg_over_time(beat_latency[1m])": 1.5,
    }  # fmt: skip
    start_s = NOW_S - 15 * step_s
    with other(p, settle_s=5.0) as settled, other(p, settle_s=0.0) as raw:
        for query, want in queries.items():
            [row] = settled.range(query, start_s, NOW_S, step_s).values()
            assert row == [pytest.approx(want)] * 15, query
            assert list(settled.instant(query, NOW_S).values()) == [pytest.approx(want)]
        [row] = raw.range("rate(beat[1m])", start_s, NOW_S, step_s).values()
        assert row[-1] is not None
        assert row[-1] < 1.0, "without it the newest bucket is not full"


@pytest.mark.parametrize("now_s", [NOW_S, NOW_S + 3, NOW_S + 4.9])
def test_running_totals_stop_where_buckets_have_settled(p: Pipeline, now_s: float) -> None:
    for query in ("beat", "beat_latency_count", "histogram_count(beat_latency)", "sum(beat)"):
        with other(p, now_s, settle_s=5.0) as settled:
            [row] = settled.range(query, NOW_S - 60, NOW_S, 10).values()
            assert row == [1_140, 1_150, 1_160, 1_170, 1_180, 1_190], query
            assert list(settled.instant(query, NOW_S).values()) == [1_190]
    with other(p, NOW_S + 5, settle_s=5.0) as later:
        assert list(later.instant("beat", NOW_S + 5).values()) == [1_197]


def test_the_future_is_not_shown(p: Pipeline) -> None:
    """All of it would change. With an offset into complete buckets there is nothing to change."""
    with other(p, settle_s=5.0) as settled:
        assert settled.range("rate(beat[1m])", NOW_S, NOW_S + 600, 60) == {}
        [row] = settled.range("rate(beat[1m] offset 11m)", NOW_S, NOW_S + 600, 60).values()
        assert row == [1.0] * 11
        assert settled.range("vector(1)", NOW_S, NOW_S + 600, 60) == {(): [1.0] * 11}
        [value] = settled.instant("rate(beat[1m])", NOW_S + 60).values()
        assert value == 1.0
    with other(p, settle_s=0.0) as raw:
        [row] = raw.range("rate(beat[1m])", NOW_S, NOW_S + 600, 60).values()
        assert len(row) == 11


def test_no_shown_point_changes(p: Pipeline) -> None:
    """The same query repeated as time goes on, of lines that came bucket by bucket: a shown step stays."""
    queries = (
        "beat", "rate(beat[30s])", "increase(beat[10s])", "sum(rate(beat_latency_count[20s]))", "level",
        "histogram_count(beat_latency)", "sum(sum_over_time(beat_users[20s]))", "beat offset 20s",
        "max_over_time(rate(beat[20s])[1m:20s])", "absent(beat)", "avg_over_time(level[2m])",
        "irate(beat[1m])", "count_over_time(beat[1m])", "scalar(beat)",
        "increase(beat[10s]) / on() group_left level",
    )  # fmt: skip
    shown: dict[tuple[str, Labels, int], float] = {}
    for now_s in range(NOW_S - 600, NOW_S - 540, 4):
        with other(p, now_s, settle_s=5.0) as one:
            for query in queries:
                found = one.range(query, NOW_S - 660, now_s + 60, 5)
                for labels, row in found.items():
                    for at_s, value in zip(range(NOW_S - 660, now_s + 61, 5), row, strict=False):
                        if value is not None:
                            assert shown.setdefault((query, labels, at_s), value) == value, (query, at_s)
    assert len(shown) > 15 * len(queries)


def test_what_is_past_is_not_held_back(p: Pipeline) -> None:
    for settle_s in (0.0, 5.0, 30.0):
        with other(p, settle_s=settle_s) as one:
            assert list(one.instant("increase(beat[1m])", NOW_S - 120).values()) == [60.0]
            assert list(one.instant("increase(beat[1m] offset 2m)", NOW_S).values()) == [60.0]


def test_windows_that_are_widened_say_so(p: Pipeline) -> None:
    text = "deltas are kept in buckets of 10s: a window of {}s is counted as {}s"
    at_s = NOW_S - 60
    for query, said in (
        ("rate(beat[5s])", [text.format(5, 10)]),
        ("rate(beat[15s]) + rate(beat_latency_count[1500ms])", [text.format(1.5, 10), text.format(15, 20)]),
        ("sum(sum_over_time(beat_users[7s]))", [text.format(7, 10)]),
        ("max_over_time(increase(beat[5s])[1m:10s])", [text.format(5, 10)]),
        ("rate(beat[10s])", []), ("beat", []), ("avg_over_time(level[5s])", []), ("beat offset 5s", []),
    ):  # fmt: skip
        assert notes(p, query, at_s) == said, query
        assert notes(p, query, at_s + 3) == said, query


# ---------------------------------------------------------------- alive


def test_a_series_without_data_is_zero_until_the_lookback_ends(p: Pipeline) -> None:
    """The last bucket is [-610, -600): in (t - 1h, t) up to t = 2,990; of sets (t - 5m, t) up to t = -310."""
    for query, kept, last in (
        ("increase(ended[1m])", 0.0, 2_990), ("rate(ended_latency_count[1m])", 0.0, 2_990),
        ("histogram_count(increase(ended_latency[1m]))", 0.0, 2_990),
        ('rate(ended_latency_bucket{le="+Inf"}[1m])', 0.0, 2_990),
        ("sum(sum_over_time(ended_users[1m]))", 0.0, -310),
        ("ended", 60.0, 2_990), ("histogram_count(ended_latency)", 60.0, 2_990), ("ended_users", 1.0, -310),
        ("ended_latency_sum", 60.0, 2_990), ('ended_latency_bucket{le="+Inf"}', 60.0, 2_990),
        ("sum by (host) (rate(ended[1m]))", 0.0, 2_990), ("count(ended)", 1.0, 2_990),
    ):  # fmt: skip
        [row] = p.range(query, NOW_S - 540, NOW_S + last + 10, 10).values()
        alive = [v is not None for v in row]
        assert alive == [True] * (len(row) - 1) + [False], query
        assert set(row[:-1]) == {kept}, query
        [before, after] = [p.instant(query, NOW_S + last + s) for s in (0, 10)]
        assert (list(before.values()), after) == ([kept], {}), query


def test_absence_begins_where_presence_ends(p: Pipeline) -> None:
    [row] = p.range("absent(ended)", NOW_S - 540, NOW_S + 3_010, 10).values()
    assert row == [None] * (len(row) - 2) + [1.0] * 2
    assert p.instant("count(ended)", NOW_S + 3_000) == {}
    # A function of samples sees the window alone.
    for query in ("count_over_time(ended[1m])", "present_over_time(ended[1m])", "irate(ended[1m])"):
        assert p.instant(query, NOW_S - 500) == {}, query


def test_a_quiet_counter_is_zero_beside_one_that_counts(p: Pipeline) -> None:
    """Errors that were last seen minutes ago divide to 0, and do not take the ratio away."""
    for query in (
        "sum(rate(ended[1m])) / sum(rate(beat[1m]))",
        "sum(increase(ended_latency_count[5m])) / sum(increase(beat[5m]))",
        'sum(rate(ended_latency_bucket{le="+Inf"}[1m])) / sum(rate(beat_latency_count[1m]))',
    ):
        assert list(p.instant(query, NOW_S).values()) == [0.0], query


def test_gauges_and_raw_observations_are_there_only_with_data(p: Pipeline) -> None:
    [row] = p.range("ended_level", NOW_S - 620, NOW_S - 300, 10).values()
    assert [v is not None for v in row] == [True] * 31 + [False] * 2  # the last sample is at -610
    for query in ("avg_over_time(ended_latency[1m])", "max_over_time(ended_level[1m])"):
        [row] = p.range(query, NOW_S - 620, NOW_S - 500, 10).values()
        assert row[0] == 1.0
        assert row[-1] is None


def test_the_lookback_is_a_setting_and_a_parameter(p: Pipeline) -> None:
    at = NOW_S - 600 + 900
    queries = ("increase(ended[1m])", "ended", "ended_level", "ended_users")
    for given, present in (
        ({}, [True, True, False, False]),
        ({"lookback_ms": 1_000_000}, [True, True, True, True]),
        ({"counter_lookback_ms": 300_000}, [False, False, False, False]),
        ({"counter_lookback_ms": 300_000, "lookback_ms": 1_000_000}, [False, False, True, True]),
    ):
        assert [bool(p.instant(query, at, **given)) for query in queries] == present, given
        settings = {f"{name[:-3]}_s": ms / 1000 for name, ms in given.items()}
        with other(p, **settings) as changed:
            assert [bool(changed.instant(query, at)) for query in queries] == present, settings


def test_a_window_longer_than_the_lookback_keeps_a_series_alive(p: Pipeline) -> None:
    assert list(p.instant("increase(ended[10m])", NOW_S - 10).values()) == [1.0]
    assert p.instant("increase(ended[10m])", NOW_S, counter_lookback_ms=300_000) == {}
    assert list(p.instant("increase(ended[2h])", NOW_S + 6_590).values()) == [1.0]
    assert p.instant("increase(ended[2h])", NOW_S + 6_600) == {}


# ---------------------------------------------------------------- stitched windows


@pytest.mark.parametrize("end_s", [NOW_S - 10, NOW_S - 4_270, NOW_S - 4_273.5, NOW_S - 90_050])
@pytest.mark.parametrize("length_s", [10, 50, 95, 3_610, 40_000, DAY_S, 100_005])
def test_windows_at_odd_times_are_exact(p: Pipeline, end_s: float, length_s: int) -> None:
    """t is taken down, w up to the next multiple of 10 s; `increase` is `rate` times w as asked."""
    last = int((end_s - (NOW_S - 3 * DAY_S)) // 10)
    buckets = -(-length_s // 10)
    counted = sum(range(max(0, last - buckets), last))
    [got] = p.instant(f"increase(days[{length_s}s])", end_s).values()
    assert got == pytest.approx(counted * length_s / (buckets * 10), rel=1e-12)
    [rate] = p.instant(f"rate(days[{length_s}s])", end_s).values()
    assert rate == pytest.approx(counted / (buckets * 10), rel=1e-12)
    said = notes(p, f"increase(days[{length_s}s])", end_s)
    assert [text.startswith("deltas are kept in buckets of 10s") for text in said] == [True] * (
        length_s % 10 > 0
    )


def test_a_long_window_is_read_from_coarse_rollups_inside(p: Pipeline) -> None:
    explain = p.answer("sum(increase(days[2d]))", Grid.instant((NOW_S - 4_270) * 1000), explain=True).explain
    assert explain is not None
    [statement] = explain["statements"]
    assert statement["rows"] == 1
    read = [t for t in ("10s", "60s", "1h", "1d") if f"counters_{t}" in statement["sql"]]
    assert read == ["10s", "60s", "1h", "1d"]


# ---------------------------------------------------------------- rows dropped by retention

SHORT = Retention(days_10s=1, days_60s=2, days_1h=3650, days_1d=3650)


@pytest.fixture
def thinned(store: Store) -> Iterator[Pipeline]:
    """Finer rollups of older days emptied by hand, as after the TTL when its parts have gone."""
    pipeline = Pipeline.open(store, NOW_S * 1000, retention=SHORT)
    made = [one for one in lines() if one.startswith(("days", "level", "wait", "people"))]
    pipeline.send(made)
    for kind in ("counters", "gauges", "distributions", "sets"):
        for rollup, days in (("10s", 1), ("60s", 2)):
            store.command(
                f"DELETE FROM `{store.database}`.{kind}_{rollup} WHERE timestamp < {NOW_S - days * DAY_S}"
            )
    yield pipeline
    pipeline.close()


def gone(granularity_s: int) -> str:
    return (
        f"finer data than {granularity_s}s is gone for this time: windows are counted in whole"
        f" {granularity_s}s buckets"
    )


def test_coarser_data_answers_where_finer_is_gone(thinned: Pipeline) -> None:
    p, at = thinned, NOW_S - DAY_S - 1_800 + 15  # no multiple of 60, and more than a day ago

    def days(lo_s: int, hi_s: int) -> float:
        first = NOW_S - 3 * DAY_S
        return float(sum(range((lo_s - first) // 10, (hi_s - first) // 10)))

    aligned = at // 60 * 60
    assert list(p.instant("increase(days[10m])", at).values()) == [days(aligned - 600, aligned)]
    assert notes(p, "increase(days[10m])", at) == [gone(60)]
    # all of it a multiple of the remaining granularity: nothing was snapped, nothing to say
    assert list(p.instant("increase(days[10m])", aligned).values()) == [days(aligned - 600, aligned)]
    assert notes(p, "increase(days[10m])", aligned) == []
    # two days ago: by the hour
    hour = (NOW_S - 2 * DAY_S - 5_000) // 3_600 * 3_600
    [got] = p.instant("increase(days[2h])", hour + 1_000).values()
    assert got == days(hour - 7_200, hour)
    assert notes(p, "increase(days[2h])", hour + 1_000) == [gone(3_600)]
    [short] = p.instant("rate(days[5m])", hour + 1_000).values()
    assert short == pytest.approx(days(hour - 3_600, hour) / 3_600)
    # today is still exact
    assert list(p.instant("increase(days[50s])", NOW_S - 15).values()) == [days(NOW_S - 70, NOW_S - 20)]
    assert notes(p, "increase(days[50s])", NOW_S - 15) == []


def test_every_kind_of_read_falls_back_and_says_so(thinned: Pipeline) -> None:
    at = NOW_S - DAY_S - 1_800 + 15
    for query in (
        "days", "irate(days[20m])", "level", "max_over_time(level[30m])", "deriv(level[30m])",
        "wait", "avg_over_time(wait[30m])", "histogram_sum(rate(wait[30m]))",
        "quantile_over_time(.5, wait[30m])",
        "wait_count", "people", "sum(sum_over_time(people[30m]))", "increase(days[5m] offset 10m)",
        f"sum(increase(days[5m] @ {at}))", "max_over_time(sum(rate(days[5m]))[10m:30s])",
    ):  # fmt: skip
        answer = thinned.answer(query, Grid.instant(at * 1000), lookback_ms=1_800_000)
        assert len(answer.value.labels) + len(answer.value.histogram_labels) == 1, query  # type: ignore[union-attr]
        assert answer.notes.infos == [gone(60)], query


def test_samples_of_a_counter_come_from_what_is_left(thinned: Pipeline) -> None:
    at = NOW_S - DAY_S - 1_800
    value = thinned.answer("days[3m]", Grid.instant(at * 1000)).value
    assert isinstance(value, Samples)
    assert value.times_ms.tolist() == [(at - 120) * 1000, (at - 60) * 1000, at * 1000]
    buckets = (at - (NOW_S - 3 * DAY_S)) // 10
    assert value.values[-1] == sum(range(buckets))


# ---------------------------------------------------------------- forced granularity


def test_a_forced_granularity_is_read_alone(p: Pipeline) -> None:
    at = NOW_S - 3_600
    answers = []
    tables = {10: "10s", 30: "10s", 60: "60s", 300: "60s", 3_600: "1h", DAY_S: "1d"}
    for asked_s, rollup in tables.items():
        answer = p.answer(
            "sum(increase(days[1d]))",
            Grid.instant(at // DAY_S * DAY_S * 1000),
            granularity_s=asked_s,
            explain=True,
        )
        assert answer.explain is not None
        [statement] = answer.explain["statements"]
        read = {
            t for t in ("counters_10s", "counters_60s", "counters_1h", "counters_1d") if t in statement["sql"]
        }
        assert read == {f"counters_{rollup}"}
        assert answer.notes.infos == []
        answers.append(answer.value.values[0, 0])  # type: ignore[union-attr]
    assert len(set(answers)) == 1


@pytest.mark.parametrize("asked_s", [1, 5, 15, 9])
def test_a_granularity_below_ten_seconds_is_refused(p: Pipeline, asked_s: int) -> None:
    with pytest.raises(BadData, match=f"{asked_s} is no multiple of 10"):
        p.instant("days", NOW_S, granularity_s=asked_s)


# ---------------------------------------------------------------- limits


def test_huge_answers_are_refused(p: Pipeline) -> None:
    with other(p, max_samples=100) as small:
        for query in ("rate(days[5m])", "days", "level", "max_over_time(level[1h])", "irate(days[10m])",
                      "sum(rate(days[5m]))", "histogram_quantile(.9, rate(wait[1h]))", "people",
                      "last_over_time(increase(wait[1d] @ end())[1d:12h])", "irate(wait[1h])"):  # fmt: skip
            with pytest.raises(
                ExecutionError, match="query processing would load too many samples into memory"
            ):
                small.range(query, NOW_S - 2 * DAY_S, NOW_S, 600)
        assert list(small.instant("increase(days[1m])", NOW_S).values()) != []


def test_what_a_query_reads_is_bounded_as_a_whole(p: Pipeline) -> None:
    """Each selector alone is small; the same one twice is read once."""
    with other(p, max_samples=100) as small:
        points = 60
        start_s = NOW_S - (points - 1) * 600
        for query in ("level", "level - level"):
            assert small.range(query, start_s, NOW_S, 600)
        with pytest.raises(ExecutionError, match="120 values, at most 100"):
            small.range("level - level offset 1m", start_s, NOW_S, 600)


def test_values_that_are_never_the_same_are_bounded(p: Pipeline) -> None:
    """count_values: as many series as values, each of all steps."""
    with other(p, max_samples=100) as small:
        assert small.range('count_values("v", vector(1))', NOW_S - 50 * 600, NOW_S, 600)
        with pytest.raises(ExecutionError, match="121 values, at most 100"):
            small.range('count_values("v", vector(time()))', NOW_S - 10 * 600, NOW_S, 600)


@pytest.mark.parametrize("query", ["max_over_time(vector(1)[100y:1ms])", "count_over_time(nothing[100y:1s])"])
def test_endless_subqueries_are_refused(p: Pipeline, query: str) -> None:
    with pytest.raises(ExecutionError, match=r"subquery of \d+ steps: at most 1000000 are evaluated"):
        p.instant(query, NOW_S)


def test_too_many_series_are_refused(p: Pipeline) -> None:
    with other(p, max_series=2) as few, pytest.raises(ExecutionError, match="max_series"):
        few.instant('{__name__=~".+"}', NOW_S)


async def test_a_query_out_of_time_says_so(p: Pipeline) -> None:
    started = time.monotonic()
    with pytest.raises(TimedOut, match="query timed out"):
        await p.engine.range(
            p.tenant,
            "irate(days[1h])",
            Grid((NOW_S - DAY_S) * 1000, NOW_S * 1000, 10_000),
            QueryOptions(timeout_s=0.001),
        )
    assert time.monotonic() - started < 30


async def test_queries_wait_for_each_other_and_all_are_answered(p: Pipeline) -> None:
    """More queries than threads, of several reads each: no query waits for a read that cannot start."""
    query = "sum(rate(days[5m])) + sum(rate(days[10m])) + max(level) + sum(people) + sum(wait_count)"
    grid = Grid((NOW_S - 3_600) * 1000, NOW_S * 1000, 60_000)
    answers = await asyncio.gather(
        *(p.engine.range(p.tenant, query, grid, QueryOptions(timeout_s=60)) for _ in range(16))
    )
    vectors = [a.value for a in answers if isinstance(a.value, Vector)]
    found = [v.values[v.present].tolist() for v in vectors]
    assert found == [found[0]] * 16
    assert len(found[0]) == 24  # data every 10 min; of the steps after it, 4 see both gauge and bucket


def test_routes_of_time_agree(p: Pipeline) -> None:
    """Instant, range, `@`, offset and subquery see the same value at one time."""
    at = NOW_S - 1_810
    for inner in ("increase(days[5m]{})", "days{}", "sum(increase(days[5m]{}))"):
        plain = inner.replace("{}", "")
        [want] = p.instant(plain, at).values()
        found = [
            next(iter(p.range(plain, at - 600, at + 600, 120).values()))[5],
            *p.instant(inner.replace("{}", f" @ {at}"), NOW_S).values(),
            *p.instant(inner.replace("{}", " offset 30m"), at + 1_800).values(),
            *p.instant(f"last_over_time({plain}[10s:10s] @ {at})", NOW_S).values(),
        ]
        assert found == [want] * 4, inner
    assert all(get(k, "__name__") == "days" for k in p.instant("days", at))
    assert len(list(itertools.chain(p.range("days", at, at + 600, 60).values()))) == 1
