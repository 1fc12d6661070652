"""Rules at ticks over a store: recorded once, ended at once, alerts that outlive their process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from indexer.clickhouse.schema import Retention
from indexer.receive.messages import parse
from shim.engine.live_edge import LiveEdge
from shim.http.admission import Admission
from shim.indexers.message_writes import Stored
from shim.metrics import ShimMetrics
from shim.model import labels as lb
from shim.model.errors import ExecutionError, Unavailable
from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.rules.alert_sink import AlertNotice
from shim.rules.group_evaluation import External, GroupEvaluation
from shim.rules.memory_engine import MemoryEngine
from shim.rules.memory_samples import MemorySamples
from shim.rules.rule_directory import RuleDirectory
from shim.rules.rule_evaluator import RuleEvaluator
from shim.rules.rule_file import parse_rule_file
from shim.rules.rule_queries import result_of
from shim.rules.store_queries import QueryPlace, StoreQueries
from shim.rules.tenant_group import RunnerParts
from shim.settings import CatalogSettings, RulesSettings
from shim.ticks.lease import SoleEvaluator
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

T: Final = 20_400 * 86_400
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)


class Sent:
    """Remembers the alerts that were sent."""

    def __init__(self) -> None:
        self.last: Sequence[AlertNotice] = ()
        self.tenants: set[Tenant] = set()

    async def send(self, tenant: Tenant, alerts: Sequence[AlertNotice]) -> None:
        self.tenants.add(tenant)
        self.last = alerts

    @property
    def names(self) -> dict[str, bool]:
        """Whether each alert fires, by name and a."""
        return {_text(a.labels): a.resolved_at_ms is None for a in self.last}


def _text(labels: Labels) -> str:
    found = dict(labels)
    return f"{found['alertname']}/{found.get('a', '')}"


class World:
    """A store, a directory of rules, a clock, and an indexer that may be away."""

    def __init__(self, pipeline: Pipeline, rules: Path) -> None:
        self.pipeline = pipeline
        self.rules = rules
        self.now_s = float(T)
        self.away = False
        self.hangs = False
        self.bodies: dict[str, bytes] = {}
        self.asked: dict[str, list[bytes]] = {}
        self.timeout_s = 30.0
        self.single: Tenant | None = Tenant(1, 1)
        self.sent = Sent()
        self.metrics = ShimMetrics()
        self.pool = ThreadPoolExecutor(4)

    async def store(self, body: bytes, key: str) -> Stored:
        """Store messages as an indexer does: the first of a key counts."""
        self.asked.setdefault(key, []).append(body)
        if self.away:
            raise Unavailable("the indexer is away")
        if self.hangs:
            await asyncio.Event().wait()
        if key in self.bodies:
            if self.bodies[key] != body:
                return Stored("known")
            return Stored("stored")
        self.bodies[key] = body
        parsed = parse(body, key=key, created_ms=T * 1000, latest_s=T + 86_400, max_messages=10_000)
        assert not parsed.rejected
        self.pipeline.insert(parsed.units)
        return Stored("stored")

    def shim(self, **settings: Any) -> RuleEvaluator:
        """Return the evaluator of a shim that has just started."""
        of = RulesSettings(path=str(self.rules), reload_s=0.1, **settings)
        slots = Admission(2, 1_000, ShimMetrics())
        place = QueryPlace(self.pipeline.engine, slots, slots, slots, self.pool, self.timeout_s)
        external = External({"region": "eu"}, "http://here")
        parts = RunnerParts(
            of, place, self.store, self.sent, SoleEvaluator(), self.metrics, external, lambda: self.now_s
        )
        directory = RuleDirectory(str(self.rules), self.single, lambda: self.now_s)
        return RuleEvaluator(directory, LiveEdge(5.0), parts, self.pool)

    async def started(self, rules: str, second: int, **settings: Any) -> tuple[RuleEvaluator, int]:
        """Return a shim that has loaded the rules, and the first tick of their group from a second on."""
        self.write(rules)
        shim = self.shim(**settings)
        await self.at(shim, 0)
        return shim, _tick(shim, second)

    async def at(self, shim: RuleEvaluator, second: float) -> None:
        """Let a shim work once, some seconds after T."""
        self.now_s = T + second
        await shim.round()
        await shim.settle()

    def empty(self, tables: str) -> None:
        """Truncate the tables whose names match."""
        store = self.pipeline.store
        for (name,) in store.rows(
            f"SELECT name FROM system.tables WHERE database = currentDatabase() AND match(name, '{tables}')"
        ):
            store.command(f"TRUNCATE TABLE {name}")

    def write(self, text: str) -> None:
        (self.rules / "r.yml").write_text(text)

    def at_tick(self, query: str, second: float) -> dict[Labels, float]:
        """Ask in a thread: the loop of the test runs."""
        return self.pool.submit(self.pipeline.instant, query, T + second).result(240)

    def outcomes(self) -> Mapping[str, float]:
        found = self.metrics.registry.get_sample_value
        names = ("stored", "known", "missed", "delayed", "refused")
        values = {n: found("meterhouse_shim_rule_ticks_total", {"outcome": n}) for n in names}
        return {name: value for name, value in values.items() if value}


@pytest.fixture(scope="module")
def pipeline(chdb_path: Path) -> Iterator[Pipeline]:
    with embedded(chdb_path, "ruled", pool=6) as store:
        fresh = CatalogSettings(names_max_age_s=0.0)  # time passes faster here than for its cache
        made = Pipeline.open(store, (T + 7_200) * 1000, retention=KEPT, catalog=fresh)
        yield made
        made.close()


@pytest.fixture
def w(pipeline: Pipeline, tmp_path: Path) -> Iterator[World]:
    """Provide a world with an empty store, and a hit every 10 s for half an hour."""
    world = World(pipeline, tmp_path)
    world.empty("_(10s|60s|1h|1d)$")
    pipeline.send(
        [f"hits:{1 + n % 2}|c|#a:{n % 2}|T{T + 10 * n}" for n in range(180)]
        + [f"load:{n}|g|#a:x|T{T + 10 * n + 1}" for n in range(24)]
    )
    yield world
    world.pool.shutdown()


RECORD: Final = """
groups:
- name: g
  interval: 1m
  rules:
  - record: job:hits:increase1m
    expr: sum by (a) (increase(hits[1m]))
    labels: {env: prod}
  - record: job:hits:double
    expr: 2 * job:hits:increase1m
  - record: job:hits:max
    expr: max_over_time(job:hits:increase1m[3m])
  - record: hits_copied
    expr: sum(increase(hits[1m]))
    labels: {__type__: counter}
"""


def _tick(shim: RuleEvaluator, after: float = 0) -> int:
    """Return the first tick of the only group at or after a time, in seconds after T."""
    (runner,) = shim.runners.values()
    return runner.schedule.last_at(int(T + after) - 1) + runner.step_s - T


async def test_a_tick_is_recorded_when_its_buckets_are_complete(w: World) -> None:
    shim, tick = await w.started(RECORD, 1)
    before = tick // 10 * 10  # the end of the last bucket whose deltas the tick reads
    await w.at(shim, max(tick - 0.5, before + 4.9) if tick - before < 5 else tick - 0.5)
    assert w.outcomes() == {}
    await w.at(shim, max(tick, before + 5))
    assert w.outcomes() == {"stored": 1}
    await w.at(shim, max(tick, before + 5) + 1)
    assert w.outcomes() == {"stored": 1}
    await w.at(shim, tick + 60 + 5)
    found = w.at_tick("job:hits:increase1m", tick + 60)
    assert {tuple(p for p in ls if p[0] != "__name__"): v for ls, v in found.items()} == {
        (("a", "0"), ("env", "prod")): 3,
        (("a", "1"), ("env", "prod")): 6,
    }
    assert sorted(w.at_tick("job:hits:double", tick + 60).values()) == [6, 12]
    assert sorted(w.at_tick("job:hits:max", tick + 60).values()) == [3, 6]


async def test_a_query_offset_moves_queries_and_samples_into_the_past(w: World) -> None:
    """Its buckets have been complete for long, so a tick waits for nothing."""
    shim, tick = await w.started(RECORD.replace("interval: 1m", "interval: 1m\n  query_offset: 2m"), 241)
    await w.at(shim, tick - 0.5)
    (runner,) = shim.runners.values()
    assert runner.last_s == T + tick - 60
    await w.at(shim, tick)
    assert runner.last_s == T + tick
    at = tick - 120
    assert sorted(w.at_tick("job:hits:increase1m", at).values()) == [3, 6]
    for second in (at, tick):
        times = w.at_tick("timestamp(job:hits:increase1m)", second)
        assert list(times.values()) == [T + at, T + at], second
    assert list(w.at_tick("timestamp(job:hits:increase1m)", at - 1).values()) == [T + at - 60] * 2


async def test_a_counter_is_recorded_so_that_its_windows_add_up(w: World) -> None:
    shim, tick = await w.started(RECORD, 61)
    for minute in range(10):
        await w.at(shim, tick + 60 * minute + 5)
    at = (tick + 540) // 10 * 10
    copied = w.at_tick("increase(hits_copied[5m])", at)
    assert list(copied.values()) == list(w.at_tick("sum(increase(hits[5m]))", at).values()) == [45]


HISTOGRAMS: Final = """
groups:
- name: g
  interval: 1m
  rules:
  - record: latency:copy
    expr: sum by (a) (increase(latency[1m]))
    labels: {__type__: histogram}
  - {record: "latency:unnamed", expr: "sum(increase(latency[1m]))"}
  - {record: "latency:numbers", expr: "sum(increase(hits[1m]))", labels: {__type__: histogram}}
"""


async def test_a_histogram_is_recorded_so_that_its_windows_add_up(w: World) -> None:
    """The same buckets, counts, sums and quantiles as of the series that it was made of."""
    w.pipeline.send(
        [f"latency:{1 + n % 7 * 0.25}:{n / 3}:0|d|@0.5|#a:{n % 2},b:{n % 3}|T{T + 5 * n}" for n in range(240)]
    )
    shim, tick = await w.started(HISTOGRAMS, 61)
    for minute in range(10):
        await w.at(shim, tick + 60 * minute + 5)
    at = (tick + 540) // 10 * 10
    for function in (
        "histogram_count",
        "histogram_sum",
        "histogram_quantile(0.9,",
        "histogram_fraction(0, 20,",
    ):
        text = function if "(" in function else f"{function}("
        shown = [
            w.at_tick(f"{text} sum by (a) (increase({name}[5m])))", at)
            for name in ("latency", "latency:copy")
        ]
        assert len(shown[0]) == 2, function
        assert list(shown[0].values()) == pytest.approx(list(shown[1].values()), rel=1e-12), function
    for function, best in (("min_over_time", min), ("max_over_time", max)):
        exact, copied = (w.at_tick(f"{function}({name}[5m])", at) for name in ("latency", "latency:copy"))
        assert best(copied.values()) == pytest.approx(best(exact.values()), rel=0.011), function
    (runner,) = shim.runners.values()
    errors = [one.error for one in runner.evaluation.health]
    assert errors[0] == ""
    assert "a recording rule of an increase may have the label __type__: histogram" in errors[1]
    assert "the result has numbers: expected native histograms" in errors[2]


async def test_late_ticks_are_caught_up_once(w: World) -> None:
    """Recording rules are evaluated at every tick after a time without a shim, also by a second shim."""
    w.write(RECORD)
    first = w.shim()
    await w.at(first, 0)
    tick = _tick(first, 61)
    await w.at(first, tick + 5)
    stored = w.outcomes()["stored"]
    second = w.shim()
    await w.at(second, tick + 600 + 5)
    assert w.outcomes()["stored"] == stored + 10
    for minute in range(11):
        found = w.at_tick("job:hits:increase1m", tick + 60 * minute)
        assert sorted(found.values()) == [3, 6], minute
        assert sorted(w.at_tick("job:hits:max", tick + 60 * minute).values()) == [3, 6], minute
    rows = w.at_tick("sum(count_over_time(job:hits:increase1m[1h]))", 3_000)
    await w.at(first, tick + 600 + 6)  # it did not know: every tick has been stored
    assert w.at_tick("sum(count_over_time(job:hits:increase1m[1h]))", 3_000) == rows
    assert w.outcomes()["stored"] == stored + 20  # the same bytes under the same keys
    third = w.shim(max_late_ticks=3)
    await w.at(third, tick + 1_500 + 5)
    assert w.outcomes()["missed"] == 12


ALERT: Final = """
groups:
- name: g
  interval: 1m
  rules:
  - record: load:copy
    expr: load > 4
  - alert: High
    expr: load:copy > 8
    for: 2m
    keep_firing_for: 2m
    labels: {severity: page}
    annotations: {text: "{{ $labels.a }} has {{ $value }} in {{ $externalLabels.region }}"}
"""


async def test_series_end_at_the_tick_at_which_they_stop(w: World) -> None:
    """The gauge rises by 1 each 10 s, and is gone five minutes after its last value at 231 s."""
    shim, tick = await w.started(ALERT, 60)
    for minute in range(13):
        await w.at(shim, tick + 60 * minute + 5)
    for minute in range(12):
        at = tick + 60 * minute
        present = at < 231 + 300
        assert bool(w.at_tick("load:copy", at + 59)) == present, minute
        assert bool(w.at_tick("load:copy", at)) == present, minute


async def test_an_alert_outlives_its_shim(w: World) -> None:
    """Each tick is evaluated by a shim of its own; the states are those that one shim would have."""
    w.write(ALERT)
    seen: list[list[bool | None]] = []
    for fresh in (False, True):
        w.bodies.clear()
        w.sent = Sent()
        shim = w.shim()
        await w.at(shim, 0)
        tick = _tick(shim, 120)  # the load is above 8 then
        states = []
        for minute in range(12):
            shim = w.shim() if fresh and minute else shim
            await w.at(shim, tick + 60 * minute + 5)
            states.append(w.sent.names.get("High/x"))
            if minute == 2:
                (notice,) = w.sent.last
                assert dict(notice.labels) == {
                    "alertname": "High",
                    "a": "x",
                    "severity": "page",
                    "region": "eu",
                }
                assert notice.annotations["text"].startswith("x has ")
                assert notice.annotations["text"].endswith(" in eu")
                assert notice.active_at_ms == (T + tick) * 1000
        seen.append(states)
        if not fresh:
            w.empty("^gauges_")
            w.pipeline.send([f"load:{n}|g|#a:x|T{T + 10 * n + 1}" for n in range(24)], agent="again")
    assert seen[0] == seen[1]
    assert set(seen[0]) == {None, True, False}


async def test_an_alert_that_was_resolved_is_told_of_by_the_next_shim(w: World) -> None:
    """For 15 minutes, with the annotations and the value of the last tick at which it was found."""
    shim, tick = await w.started(ALERT, 120)
    for minute in range(12):
        await w.at(shim, tick + 60 * minute + 5)
        if any(one.resolved_at_ms is not None for one in w.sent.last):
            break
    (over,) = w.sent.last
    assert over.resolved_at_ms is not None
    end = over.resolved_at_ms // 1000 - T
    for after in (60, 840):
        w.sent = Sent()
        await w.at(w.shim(), end + after + 5)
        (again,) = w.sent.last
        assert again.annotations == over.annotations
        assert again.value == over.value
        kept = (again.labels, again.active_at_ms, again.fired_at_ms, again.resolved_at_ms)
        assert kept == (over.labels, over.active_at_ms, over.fired_at_ms, over.resolved_at_ms)
    w.sent = Sent()
    await w.at(w.shim(), end + 960 + 5)
    assert not w.sent.last


async def test_alerts_of_one_name_are_restored_to_the_rule_with_their_labels(w: World) -> None:
    """The alert of the rule with more labels is none of the other one, which would tell of its end."""
    rule = "{alert: High, expr: load > 8"
    both = f"groups: [{{name: g, interval: 1m, rules: [{rule}}}, {rule}, labels: {{severity: page}}}}]}}]"
    shim, tick = await w.started(both, 120)
    told: list[dict[str, bool]] = []
    for minute in range(2):
        await w.at(shim, tick + 60 * minute + 5)
        told.append(
            {str(dict(one.labels).get("severity")): one.resolved_at_ms is None for one in w.sent.last}
        )
        assert len(w.sent.last) == 2
        shim = w.shim()
    assert told == [{"None": True, "page": True}] * 2


async def test_alerts_are_sent_while_the_indexer_is_away(w: World) -> None:
    shim, tick = await w.started(ALERT, 120)
    await w.at(shim, tick + 5)
    w.away = True
    for minute in (1, 2):
        await w.at(shim, tick + 60 * minute + 30)
    assert w.sent.names == {"High/x": True}
    assert w.outcomes()["delayed"] >= 2
    w.away = False
    await w.at(shim, tick + 180 + 40)
    for minute in range(4):
        assert w.at_tick("load:copy", tick + 60 * minute), minute  # caught up


async def test_alerts_are_sent_while_the_indexer_hangs(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shim, tick = await w.started(ALERT, 120)
    await w.at(shim, tick + 5)
    w.hangs = True
    with monkeypatch.context() as while_it_hangs:
        while_it_hangs.setattr("shim.rules.tick_storage._MAX_STORE_S", 0.1)
        for minute in (1, 2):
            async with asyncio.timeout(120):
                await w.at(shim, tick + 60 * minute + 30)
    assert w.sent.names == {"High/x": True}
    w.hangs = False
    await w.at(shim, tick + 180 + 40)
    for minute in range(4):
        assert w.at_tick("load:copy", tick + 60 * minute), minute  # caught up


async def test_a_bad_file_keeps_the_last_good_groups(w: World) -> None:
    shim, tick = await w.started(RECORD, 61)
    await w.at(shim, tick + 5)
    w.write(RECORD.replace("increase(hits[1m])", "increase(hits[1m)", 1))
    shim._loaded_s = 0
    await w.at(shim, tick + 60 + 5)
    (file,) = shim.directory.files.values()
    assert file.error.startswith('r.yml:7: group "g", rule 1, "job:hits:increase1m": could not parse')
    assert w.metrics.registry.get_sample_value("meterhouse_shim_rule_files_bad") == 1
    assert w.at_tick("job:hits:increase1m", tick + 60)


async def test_series_of_a_removed_rule_and_group_end(w: World) -> None:
    shim, tick = await w.started(RECORD, 61)
    await w.at(shim, tick + 5)
    w.write(RECORD.replace("job:hits:double", "job:hits:twice"))
    shim._loaded_s = 0
    await w.at(shim, tick + 60 + 5)
    assert w.at_tick("job:hits:double", tick + 59)
    assert not w.at_tick("job:hits:double", tick + 60)
    assert w.at_tick("job:hits:twice", tick + 60)
    (w.rules / "r.yml").unlink()
    shim._loaded_s = 0
    await w.at(shim, tick + 60 + 20)
    assert shim.runners == {}
    assert w.at_tick("job:hits:twice", tick + 79)
    assert not w.at_tick("job:hits:twice", tick + 80)


async def test_a_series_that_stops_while_the_indexer_is_away_ends_at_the_next_tick(w: World) -> None:
    w.write(
        RECORD.replace(
            "2 * job:hits:increase1m", f"job:hits:increase1m and on() (vector(time()) < {T + 150})"
        )
    )
    shim = w.shim()
    await w.at(shim, 0)
    tick = _tick(shim, 61)
    stop = next(at for at in range(tick, 1_000, 60) if at >= 150)
    for at in range(tick, stop, 60):
        await w.at(shim, at + 5)
    assert w.at_tick("job:hits:double", stop - 1)
    w.away = True
    await w.at(shim, stop + 5)
    w.away = False
    await w.at(shim, stop + 40)
    assert w.at_tick("job:hits:double", stop - 1)
    assert w.at_tick("job:hits:increase1m", stop)
    assert not w.at_tick("job:hits:double", stop)


@pytest.mark.parametrize("after", [10, 70], ids=["the same tick", "the next tick"])
async def test_a_tick_is_sent_again_with_the_bytes_of_before(w: World, after: int) -> None:
    """An indexer that answered 503 may know a request by its key, and would answer 409 to others."""
    shim, tick = await w.started(RECORD, 61)
    await w.at(shim, tick + 5)
    w.away = True
    await w.at(shim, tick + 65)
    w.pipeline.send([f"hits:100|c|#a:0|T{T + tick + 30}"])  # late: another evaluation has another result
    w.away = False
    await w.at(shim, tick + 60 + after)
    again = [bodies for bodies in w.asked.values() if len(bodies) > 1]
    assert again
    assert all(len(set(bodies)) == 1 for bodies in again)
    assert "known" not in w.outcomes()
    assert sorted(w.at_tick("job:hits:increase1m", tick + 60).values()) == [3, 6]


async def test_a_clock_that_was_ahead_stops_no_group(w: World) -> None:
    shim, tick = await w.started(RECORD, 61)
    await w.at(shim, tick + 5)
    (runner,) = shim.runners.values()
    runner.last_s = T + 86_400
    runner.retry_at_s = T + 86_400
    await w.at(shim, tick + 60 + 5)
    assert runner.last_s == T + tick + 60


async def test_a_tick_of_a_clock_ahead_that_was_not_stored_is_dropped(w: World) -> None:
    """A shim's clock is two days ahead until an indexer tells the time; till then nothing is stored."""
    shim, tick = await w.started(RECORD, 61)
    w.away = True
    await w.at(shim, tick + 2 * 86_400 + 5)
    (runner,) = shim.runners.values()
    assert runner.unsent is not None
    w.away = False
    await w.at(shim, tick + 5)
    await w.at(shim, tick + 60 + 5)
    assert runner.last_s == T + tick + 60
    assert max(int(key.rpartition("/")[0].rpartition("/")[2]) - T for key in w.bodies) == tick + 60


async def test_a_last_tick_in_the_future_is_not_ours(w: World) -> None:
    w.pipeline.send([f"meterhouse_rule_group_last_tick_seconds:1e300|g|#rule_group:r.yml;g|T{T - 10}"])
    shim, tick = await w.started(RECORD, 61)
    await w.at(shim, tick + 5)
    assert w.at_tick("job:hits:double", tick)


class Impatient(MemoryEngine):
    """Grants the time of two templates."""

    granted = 2

    def check_time(self) -> None:
        self.granted -= 1
        if self.granted < 0:
            raise ExecutionError("too long")


def test_templates_that_take_too_long_fail_their_rule_alone() -> None:
    samples = MemorySamples()
    for n in range(5):
        samples.append(lb.make({lb.NAME: "load", "a": str(n)}), 0, 9.0)
    (group,) = parse_rule_file("r.yml", ALERT)
    evaluation = GroupEvaluation(group, External())
    with ThreadPoolExecutor(1) as pool:
        failed = result_of(evaluation.evaluate(0, Impatient(samples, 60_000, pool), samples))
    assert failed == [("High", "too long")]
    assert len(evaluation.before[0]) == 5


async def test_templates_have_the_time_of_a_query(w: World) -> None:
    w.timeout_s = 0.2
    w.write(ALERT)
    shim = w.shim()
    await w.at(shim, 0)
    (runner,) = shim.runners.values()
    queries = StoreQueries.of_tick(runner.parts.place, runner.tenant, MemorySamples())

    def work() -> None:
        queries.check_time()
        while True:  # until its time is over
            queries.check_time()

    with pytest.raises(ExecutionError, match=r"took more than 0.2 s \(setting shim.rules.timeout_s\)"):
        await queries.apart(work)


async def test_rules_over_an_org_store_in_the_project_of_each_result(w: World) -> None:
    w.pipeline.send([f"hits:5|c|#a:z|T{T + 10 * n}" for n in range(180)], project_id=2)
    w.single = None
    (w.rules / "1").mkdir()
    (w.rules / "1" / "r.yml").write_text("""
groups:
- name: g
  rules:
  - {record: "project:hits:increase1m", expr: "sum by (project_id) (increase(hits[1m]))"}
  - {record: "org:hits:increase1m", expr: "sum(project:hits:increase1m)"}
""")
    shim = w.shim(org_project_id=7)
    await w.at(shim, 0)
    tick = _tick(shim, 61)
    await w.at(shim, tick + 5)
    found = {}
    for project_id in (1, 2, 7, None):
        w.pipeline.tenant = Tenant(1, project_id)
        try:
            found[project_id] = w.at_tick('{__name__=~".*:hits:increase1m"}', tick)
        finally:
            w.pipeline.tenant = Tenant(1, 1)
    name = "project:hits:increase1m"
    assert found[1] == {lb.make({lb.NAME: name}): 9}
    assert found[2] == {lb.make({lb.NAME: name}): 30}
    assert found[7] == {lb.make({lb.NAME: "org:hits:increase1m"}): 39}
    assert found[None] == {
        lb.make({lb.NAME: name, "project_id": "1"}): 9,
        lb.make({lb.NAME: name, "project_id": "2"}): 30,
        lb.make({lb.NAME: "org:hits:increase1m", "project_id": "7"}): 39,
    }
    second = w.shim(org_project_id=7)  # reads the last tick from the org's project
    await w.at(second, tick + 120 + 5)
    assert sorted(w.at_tick("project:hits:increase1m", tick + 60).values()) == [9]


async def test_a_rule_that_yields_too_much_fails_alone(w: World) -> None:
    shim, tick = await w.started(RECORD, 61, max_series=1)
    await w.at(shim, tick + 5)
    (runner,) = shim.runners.values()
    errors = [one.error for one in runner.evaluation.health]
    assert errors[0] == "the rule yields 2 series: expected at most 1 (setting shim.rules.max_series)"
    assert errors[3] == ""
    assert w.outcomes()["stored"] >= 1


def test_a_request_of_a_tick_is_the_same_in_every_shim(w: World) -> None:
    """Two shims make the same bytes under the same key from the same data."""
    w.write(RECORD)
    both = []
    for _ in range(2):
        w.bodies = {}
        shim = w.shim()

        async def run(shim: RuleEvaluator = shim) -> None:
            await w.at(shim, 0)
            await w.at(shim, _tick(shim, 61) + 5)

        asyncio.run(run())
        both.append(dict(w.bodies))
    assert both[0] == both[1]
    assert all(json.loads(body) for body in both[0].values())
