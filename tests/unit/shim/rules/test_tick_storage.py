"""Two shims store one tick: whatever they yield and wherever one dies, each series counts once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec
import pytest

from indexer.receive.messages import parse
from shim.indexers.message_writes import Stored
from shim.metrics import ShimMetrics
from shim.model import labels as lb
from shim.model.errors import BadData
from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.rules.recorded_messages import CUT, LAST_TICK, TickResults
from shim.rules.tick_requests import TickPart, tick_parts
from shim.rules.tick_storage import TickStorage

TICK_S = 1_700_000_037
KEY = "rules/0123/1700000037"
ONE = Tenant(7, 9)
ORG = Tenant(7, None)


class KilledError(Exception):
    """The shim is gone."""


@pytest.fixture(autouse=True)
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut at a hundredth of the usual number, and send one request after the other."""
    monkeypatch.setattr("shim.rules.tick_requests._MAX_MESSAGES", 80)
    monkeypatch.setattr("shim.rules.tick_storage._SENT_AT_ONCE", 1)


class Indexers:
    """Indexers that know each identity of a frame: the first bytes count, others are a conflict."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}
        self.samples: dict[tuple[int, str, str], list[float]] = {}
        self.requests = 0
        self.refuses = ""
        self._left = 1 << 30

    async def store(self, body: bytes, key: str) -> Stored:
        if not self._left:
            raise KilledError
        self._left -= 1
        self.requests += 1
        if self.refuses and key.endswith(self.refuses):
            raise BadData("no")
        parsed = parse(body, key=key, created_ms=TICK_S * 1000, latest_s=TICK_S + 60, max_messages=10_000)
        assert not parsed.rejected
        (unit,) = parsed.units
        if unit.identity in self.known:
            return Stored("stored" if self.known[unit.identity] == body else "known")
        self.known[unit.identity] = body
        for one in msgspec.json.decode(body):
            tag = ",".join(f"{k}={v}" for k, v in sorted(one["tags"].items()))
            self.samples.setdefault((one["project_id"], one["name"], tag), []).append(one["value"])
        return Stored("stored")

    async def run(
        self,
        found: Iterable[Labels],
        value: float = 1.0,
        *,
        deltas: Sequence[str] = (),
        tenant: Tenant = ONE,
        requests: int = 1 << 30,
    ) -> str:
        """Store the tick as one shim does, which is killed after some requests."""
        results = TickResults(frozenset(deltas))
        for labels in found:
            results.append(labels, TICK_S * 1000, value)
        tick = tick_parts(tenant, 3, results, ("f;g", TICK_S))
        self._left = requests
        storage = TickStorage(self.store, _here, ShimMetrics(), KEY, "g")
        try:
            return await storage.run(tick)
        except KilledError:
            return "killed"

    def of(self, name: str) -> dict[tuple[int, str], list[float]]:
        return {(project, tag): values for (project, n, tag), values in self.samples.items() if n == name}


async def _here(call: Callable[[], Sequence[TickPart]]) -> Sequence[TickPart]:
    return call()


def series(name: str, **labels: str) -> Labels:
    return lb.make({lb.NAME: name, **labels})


def many(name: str, numbers: Iterable[int]) -> list[Labels]:
    return [series(name, n=str(n)) for n in numbers]


SIZES = [(95, 70), (70, 95), (95, 99), (2_000, 70), (70, 2_000), (120, 2_000)]


@pytest.mark.parametrize("deltas", [("n",), ()], ids=["counter", "gauge"])
@pytest.mark.parametrize(("first", "second"), SIZES)
async def test_no_series_is_stored_twice_whatever_a_second_evaluation_yields(
    first: int, second: int, deltas: Sequence[str]
) -> None:
    """The first shim dies after some of its requests; the second one evaluates the tick once more."""
    indexers = Indexers()
    assert await indexers.run(many("n", range(first)), deltas=deltas) == "stored"
    whole = indexers.requests
    for killed in {0, 1, 2, 3, 10, whole - 1, whole} & set(range(whole + 1)):
        indexers = Indexers()
        await indexers.run(many("n", range(first)), deltas=deltas, requests=killed)
        assert indexers.requests == killed
        assert await indexers.run(many("n", range(second)), 2.0, deltas=deltas) in ("stored", "known")
        stored = indexers.of("n")
        assert all(len(values) == 1 for values in stored.values()), (
            killed,
            Counter(map(len, stored.values())),
        )
        both = {(9, f"n={n}") for n in range(min(first, second))}
        assert both <= stored.keys(), killed
        values = {value for (value,) in stored.values()}
        assert values <= {1.0, 2.0}
        if killed == 0:
            assert stored.keys() == {(9, f"n={n}") for n in range(second)}
            assert values == {2.0}
        assert indexers.of(LAST_TICK).keys() == {(9, "rule_group=f;g")}


async def test_shims_of_the_same_results_send_nothing_new() -> None:
    indexers = Indexers()
    for outcome in ("stored", "stored"):  # the same bytes
        assert await indexers.run(many("n", range(2_000)), deltas=["n"]) == outcome
    assert {len(values) for values in indexers.samples.values()} == {
        1,
        len(indexers.of(CUT)[9, "rule_group=f;g"]),
    }
    assert await indexers.run(many("n", range(2_000)), 2.0, deltas=["n"]) == "known"
    assert {value for values in indexers.of("n").values() for value in values} == {1.0}


async def test_a_small_tick_is_one_request() -> None:
    indexers = Indexers()
    assert await indexers.run(many("n", range(80))) == "stored"
    assert indexers.requests == 1
    assert not indexers.of(CUT)


async def test_deltas_are_stored_once_however_many_gauges_there_are() -> None:
    """A second evaluation has gauges for some requests more, and another has none."""
    deltas = many("n", range(50))
    for first, second in ((10, 90), (90, 10), (0, 5), (5, 0)):
        indexers = Indexers()
        for gauges in (first, second):
            await indexers.run([*deltas, *many("x", range(gauges))], deltas=["n"])
        assert [len(values) for values in indexers.of("n").values()] == [1] * 50
        assert {len(values) for values in indexers.of("x").values()} == {1}
        assert len(indexers.of("x")) >= min(first, second) if min(first, second) else max(first, second)


async def test_shims_that_see_different_projects_store_each_once() -> None:
    def of(*projects: int) -> list[Labels]:
        return [series("n", project_id=str(one)) for one in projects]

    indexers = Indexers()
    for seen in (of(5, 8), of(4, 5), of(8), of(4, 3, 8)):
        await indexers.run(seen, deltas=["n"], tenant=ORG)
    counts = {project: len(values) for (project, _), values in indexers.of("n").items()}
    assert counts == {3: 1, 4: 1, 5: 1, 8: 1}


async def test_a_tick_is_refused_if_its_end_is_or_all_its_parts() -> None:
    for refuses, outcome in (("/end", "refused"), ("/0", "refused"), ("/0.3", "stored")):
        indexers = Indexers()
        indexers.refuses = refuses
        assert await indexers.run(many("n", range(95)), deltas=["n"]) == outcome
