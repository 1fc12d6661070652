"""One run: starts everything, carries a plan out, heals, and compares all answers with the truth."""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import numpy as np

from indexer.clickhouse.store import open_store
from tests.bench.many_agents import Told, Work, simulate
from tests.e2e.product import Api, get, wait_for
from tests.faults.cluster.answer_watch import QUERIES, AnswerWatch, counting
from tests.faults.cluster.cluster_processes import TICK_S, Services
from tests.faults.cluster.dead_indexer import DeadIndexer
from tests.faults.cluster.kill_plan import REDIS, Event, plan
from tests.faults.cluster.killed_agents import KilledAgent
from tests.faults.cluster.line_truth import Difference, LineTruth
from tests.support.foreign_redis import FOREIGN
from tests.support.parts_watch import PartsWatch, worst_rate

_BUCKET_S: Final = 10
_PROCESSES: Final = 4
#: A busy machine is waited for: only the truth decides.
_PATIENT_S: Final = 600.0
_LINES_EVERY_S: Final = 2.0
_LOOK_S: Final = 0.1
#: An operator releases the frames of an indexer so long after its death.
_RELEASED_AFTER_S: Final = 15.0
#: Released frames are stored without their dead indexer, but for those that are under way.
_RELEASED_S: Final = 40.0
#: Answers are asked again for this long until they have all rows.
_SETTLED_S: Final = 120.0
#: Rollups hold the same rows; members of sets do not add up in SQL.
_ROLLUPS: Final = ("10s", "60s", "1h", "1d")
_ROWS: Final = {"counters": "sum(value)", "gauges": "sum(count)", "distributions": "sum(count)"}
_RELEASED: Final = (
    "SELECT sum(bitCount(m)) FROM (SELECT groupBitOr(mask) AS m FROM identities"
    " WHERE source >= 'c1' AND source < 'c:' GROUP BY source, block)"
)
#: Answers about agents: rows or lines by agent and generation.
_ByAgent = Mapping[tuple[str, str], float]

T = TypeVar("T")


class Simulated:
    """The simulated agents, in some processes."""

    def __init__(self, urls: Sequence[str], agents: int, series: int, until_s: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.made = context.Value("q", 0)
        self._channels: list[Any] = []
        self._processes: list[Any] = []
        for n in range(min(_PROCESSES, agents)):
            ours, theirs = context.Pipe()
            work = Work(urls[0], range(agents)[n::_PROCESSES], series, until_s, urls, _PATIENT_S / 2)
            self._processes.append(
                context.Process(target=simulate, args=(work, theirs, self.made), daemon=True)
            )
            self._channels.append(ours)
            self._processes[-1].start()

    def wait(self) -> list[Told]:
        """Return the results once all frames are acknowledged."""
        told = []
        for channel in self._channels:
            assert channel.poll(_PATIENT_S), "simulated agents do not end"
            told.append(channel.recv())
        for process in self._processes:
            process.join()
        return told


class ClusterRun:
    """A run in a folder over a test server on `port`."""

    def __init__(self, folder: Path, port: int, args: argparse.Namespace) -> None:
        self._args = args
        self._port = port
        dsn = f"http://127.0.0.1:{port}/default"
        self._rnd = random.Random(args.seed + 1)
        self._truth = LineTruth()
        self._services = Services(folder, dsn, args.indexers, args.shims, args.parts)
        urls = self._services.indexers.urls
        self._agents = [KilledAgent(folder, n, urls, self._truth) for n in range(args.real)]
        self._store, watched = open_store(dsn, pool=1), open_store(dsn, pool=1)
        self._parts = PartsWatch(watched)
        self._stores = self._store, watched
        self._settled_s = 0.0
        self._folder = folder
        self._dead: DeadIndexer | None = None
        self._away: set[str] = set()
        self._died: list[str] = []
        self._done: Counter[str] = Counter()

    def clear(self) -> None:
        """End everything."""
        for agent in self._agents:
            agent.actor.clear()
        self._services.clear()
        for store in self._stores:
            store.close()

    def run(self) -> dict[str, Any]:
        """Return the report of the run."""
        self._services.start()
        for agent in self._agents:
            agent.actor.launch()
        for agent in self._agents:
            agent.actor.start()
        args, began_s = self._args, time.time()
        self._parts.start()
        inserts = self._inserts()
        simulated = Simulated(
            self._services.indexers.urls, args.agents - args.real, args.series, began_s + args.seconds
        )
        window = f"{math.ceil(args.seconds / 3_600) + 1}h"
        sent = {"many": lambda: int(simulated.made.value), "real": lambda: self._truth.sent}
        with ExitStack() as stack:
            watches = [stack.enter_context(_watch(api, sent, window)) for api in self._services.shims.apis]
            self._carry_out(began_s)
            self._heal()
            told = simulated.wait()
            for agent in self._agents:
                wait_for(lambda a=agent: a.promise(_PATIENT_S, acknowledged=True), agent.name, _PATIENT_S)  # type: ignore[misc]
            seconds = time.time() - began_s
        return self._report(began_s, told, watches, self._measured(seconds, inserts))

    def _measured(self, seconds: float, inserts: Counter[str]) -> dict[str, Any]:
        """Return the parts of all tables and by table, and the INSERTs by user and table."""
        self._parts.stop()
        made = self._parts.seconds()
        return {
            "parts_per_s": round(self._parts.events / seconds, 2),
            "parts_per_s_seen": round(len(made) / seconds, 2),
            "parts_per_s_in_worst_10_s": worst_rate(made, 10),
            "parts_per_s_in_worst_60_s": round(worst_rate(made, 60), 2),
            "parts": self._parts.by_table(),
            "inserts": dict((self._inserts() - inserts).most_common()),
        }

    def _inserts(self) -> Counter[str]:
        """Return how many INSERTs were sent, by user and table: each indexer has its own user."""
        return Counter(json.loads(get(f"http://127.0.0.1:{self._port}/counts")[1])["of"])

    def _carry_out(self, began_s: float) -> None:
        """Carry the plan out, and send lines meanwhile."""
        args = self._args
        names = [*self._services.actors, *(f"agent {n}" for n in range(args.real))]
        events = plan(args.seed, args.seconds, args.every, names, args.redis, sorted(FOREIGN))
        next_lines_s = 0.0
        last_s = max((event.at_s for event in events if event.at_s < args.seconds), default=0.0)
        while (passed_s := time.time() - began_s) < args.seconds or (events and events[0].at_s <= last_s):
            while events and events[0].at_s <= passed_s:
                event = events.pop(0)
                if event.action in ("die", "release"):
                    events = sorted([*events, *self._die(event, began_s)], key=lambda one: one.at_s)
                else:
                    self._act(event)
            if passed_s >= next_lines_s:
                for agent in self._agents:
                    agent.send(self._rnd.randrange(1, 20))
                next_lines_s = passed_s + _LINES_EVERY_S
            self._look_for_dead()
            time.sleep(_LOOK_S)

    def _act(self, event: Event) -> None:
        kind, _, number = event.name.partition(" ")
        self._done[event.name if event.action == "foreign" else f"{event.action} {kind}"] += 1
        match event.action, kind:
            case "foreign", _:
                self._services.redis.act(event.name)
            case "kill", "agent":
                self._agents[int(number)].kill(self._rnd)
            case "start", "agent":
                urls = enumerate(self._services.indexers.urls)
                away = [url for n, url in urls if f"indexer {n}" in self._away]
                self._agents[int(number)].start(self._rnd, away)
            case "kill", _:
                (self._services.redis.kill if kind == REDIS else lambda: self._services.kill(event.name))()
            case "start", _:
                if kind == REDIS:
                    self._services.redis.start()
                else:
                    self._services.actors[event.name].launch()
        (self._away.add if event.action == "kill" else self._away.discard)(event.name)

    def _die(self, event: Event, began_s: float) -> list[Event]:
        """Let an indexer die for good, or release its frames; return the event for later if that failed."""
        number = int(event.name.partition(" ")[2])
        if self._dead is None:
            services = self._services
            self._dead = DeadIndexer(
                event.name,
                services.actors[event.name],
                services.indexers.urls[number],
                self._folder / f"journal-{number}.sqlite",
                self._agents,
            )
        if event.action == "release":
            self._dead.release()
            self._done["release"] += 1
            return []
        now_s = time.time()
        if (wait_s := self._dead.step(now_s)) is not None:
            return [msgspec.structs.replace(event, at_s=now_s - began_s + wait_s)]
        if not self._dead.dead:
            return []
        self._away.add(event.name)
        self._done["die"] += 1
        return [Event(time.time() - began_s + _RELEASED_AFTER_S, "release", event.name)]

    def _look_for_dead(self) -> None:
        """Note processes that ended by themselves."""
        agents = {f"agent {n}": agent.actor for n, agent in enumerate(self._agents)}
        for name, actor in {**self._services.actors, **agents}.items():
            if name not in self._away and actor.ended():
                self._died.append(f"{name}: {actor.output[-2_000:]}")
                actor.launch()

    def _heal(self) -> None:
        if REDIS in self._away:
            self._services.redis.start()
        self._services.redis.heal()
        if self._dead is not None:
            self._dead.resume()
            for name, actor in self._services.actors.items():
                if name != self._dead.name:
                    actor.start()
            self._dead.wait(_RELEASED_S)
        for actor in self._services.actors.values():
            actor.start()
        for agent in self._agents:
            agent.start_healed()

    def _report(
        self, began_s: float, told: Sequence[Told], watches: Sequence[AnswerWatch], measured: dict[str, Any]
    ) -> dict[str, Any]:
        for name in self._services.actors:
            self._services.count_redis(name)
        self._settled_s = time.monotonic() + _SETTLED_S
        differences = self._differences(began_s, told)
        wrong = [text for watch in watches for text in watch.wrong]
        waits_s = [done - made for one in told for made, done in one.acknowledged] or [0.0]
        dropped, unsent = sum(one.dropped for one in told), sum(one.unsent for one in told)
        wrong_ticks, missed_ticks = self._wrong_ticks(began_s)
        bad = {name: msgspec.to_builtins(one) for name, one in differences.items() if one}
        rows = sum(count for one in told for count in one.rows.values())
        exact = rows > 0 and not (bad or wrong or dropped or unsent or wrong_ticks or self._died)
        dead = self._dead.report() if self._dead is not None else {}
        return {
            "exact": exact,
            "lost": max((one.lost for one in differences.values()), default=0),
            "doubled": max((one.doubled for one in differences.values()), default=0),
            "unpromised_lost": max((one.excused for one in differences.values()), default=0),
            "differences": bad,
            "rows": rows,
            "lines": self._truth.sent,
            "asked": sum(watch.asked for watch in watches),
            "unanswered": dict(sum((watch.unanswered for watch in watches), Counter[str]()).most_common(9)),
            "briefly_back": sum(watch.briefly_back for watch in watches),
            "wrong_answers": wrong[:20],
            "wrong_ticks": wrong_ticks,
            "missed_ticks": missed_ticks,
            "died": self._died,
            "dropped_frames": dropped,
            "unsent_frames": unsent,
            "dead_indexer": dead,
            "released_frames": int(self._store.rows(_RELEASED)[0][0]),
            **{f"acknowledged_p{p}_s": round(float(np.percentile(waits_s, p)), 2) for p in (50, 99, 100)},
            **measured,
            "events": dict(self._done),
            "of_redis": dict(self._services.redis_counts),
            "load": os.getloadavg(),
        }

    def _differences(self, began_s: float, told: Sequence[Told]) -> dict[str, Difference]:
        """Return the differences of all answers of both shims, once they show all or do not grow any more."""
        rows = {name: count for one in told for name, count in one.rows.items()}
        found = self._by_rollup(sum(rows.values()))
        for shim, api in enumerate(self._services.shims.apis):
            for kind in QUERIES:
                for window, answer in _by_window(api, kind, began_s):
                    name = f"shim {shim} {kind} {window}"
                    found[name] = self._settled(
                        lambda a=answer: self._compare(a, rows),  # type: ignore[misc]
                        lambda found: not found,
                    )
        return found

    def _compare(self, ask: Callable[[str], _ByAgent], rows: Mapping[str, int]) -> Difference:
        found = self._truth.compare(ask("real"))
        got = {agent: value for (agent, _), value in ask("many").items()}
        for agent in rows.keys() | got.keys():
            found.add(got.get(agent, 0.0), rows.get(agent, 0))
        return found

    def _by_rollup(self, rows: int) -> dict[str, Difference]:
        """Return the differences of all rows in each rollup, without those of rules and of `up`."""
        promised = rows + sum(one.promised for one in self._truth.generations.values())
        unpromised = sum(one.unpromised for one in self._truth.generations.values())
        found = {}
        for kind, sql in _ROWS.items():
            for rollup in _ROLLUPS:
                names = f"string IN ('many_{kind[0]}', 'real_{kind[0]}')"
                ((got,),) = self._store.rows(
                    f"SELECT {sql} FROM {kind}_{rollup}"
                    f" WHERE metric_id IN (SELECT id FROM strings WHERE {names})"
                )
                found[f"{kind}_{rollup}"] = one = Difference()
                one.add(float(got), promised, unpromised)
        return found

    def _wrong_ticks(self, began_s: float) -> tuple[list[str], int]:
        """Return the intervals that do not have their tick of the rule group once, and how many lack it.

        A group that takes longer than its interval gives late ticks up, and says so: these are not wrong.
        """
        first_s, last_s = (int(at) // TICK_S * TICK_S for at in (began_s + 2 * TICK_S, time.time()))
        if first_s > last_s:
            return [], 0  # the run was too short for a whole interval
        api = self._services.shims.apis[0]
        newest = "max(meterhouse_rule_group_last_tick_seconds)"
        wait_for(lambda: (api.one(newest, time.time()) or 0) >= last_s, "ticks of all time", _PATIENT_S)
        query = f"sum(increase(ticked[{TICK_S}s]))"
        ends = range(first_s, last_s + 1, TICK_S)

        def look() -> tuple[list[str], int]:
            got = api.range(query, first_s, last_s, TICK_S).get((), {})
            wrong = [f"{at}: {got.get(at, 0):g}" for at in ends if got.get(at, 0) > 1]
            missing = [f"{at}: {got.get(at, 0):g}" for at in ends if got.get(at, 0) < 1]
            said = self._services.missed_ticks()
            return wrong + (missing if len(missing) > said else []), len(missing)

        return self._settled(look, lambda found: not found[0])

    def _settled(self, look: Callable[[], T], done: Callable[[T], bool]) -> T:
        """Return a look that is done, or the last one: all looks of a report wait for _SETTLED_S together."""
        while not done(found := look()) and time.monotonic() < self._settled_s:
            time.sleep(1.0)
        return found


def _by_window(
    api: Api, kind: str, began_s: float
) -> Iterator[tuple[str, Callable[[str], dict[tuple[str, str], float]]]]:
    """Yield ways to count the rows of a metric by agent and generation: by 10 s, 60 s and 1 h."""

    def instant(metric: str, window_s: int) -> dict[tuple[str, str], float]:
        at_s = math.ceil(time.time() / window_s) * window_s
        count = math.ceil((at_s - began_s + _BUCKET_S) / window_s)
        return _agents(api.instant(counting(kind, metric, f"{count * window_s}s", "agent, gen"), at_s))

    def steps(metric: str) -> dict[tuple[str, str], float]:
        first_s, last_s = (int(at) // _BUCKET_S * _BUCKET_S for at in (began_s, time.time()))
        found = api.range(counting(kind, metric, "10s", "agent, gen"), first_s, last_s, _BUCKET_S)
        return _agents({labels: sum(points.values()) for labels, points in found.items()})

    yield "10s", steps
    yield "60s", lambda metric: instant(metric, 60)
    yield "1h", lambda metric: instant(metric, 3_600)


def _agents(answer: Mapping[tuple[tuple[str, str], ...], float]) -> dict[tuple[str, str], float]:
    named = ((dict(labels), value) for labels, value in answer.items())
    return {(labels.get("agent", ""), labels.get("gen", "")): value for labels, value in named}


@contextmanager
def _watch(api: Api, sent: Mapping[str, Callable[[], int]], window: str) -> Iterator[AnswerWatch]:
    watch = AnswerWatch(api.url, sent, window)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
