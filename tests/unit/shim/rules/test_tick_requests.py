"""Requests of a tick: those that two shims make of different results; the first of each identity counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pytest

from indexer.receive.messages import parse
from shim.model import labels as lb
from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.rules.recorded_histogram import RecordedHistogram
from shim.rules.recorded_messages import LAST_TICK, TickResults
from shim.rules.tick_requests import TickRequest, tick_requests

TICK_S = 1_700_000_037
KEY = "rules/0123/1700000037"
ONE = Tenant(7, 9)
ORG = Tenant(7, None)


def series(name: str, **labels: str) -> Labels:
    return lb.make({lb.NAME: name, **labels})


@pytest.fixture(autouse=True)
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut at a tenth of the usual numbers."""
    monkeypatch.setattr("shim.rules.tick_requests._MESSAGES", 400)
    monkeypatch.setattr("shim.rules.tick_requests._MAX_MESSAGES", 800)


def requests(
    found: Iterable[Labels],
    *,
    deltas: Sequence[str] = (),
    tenant: Tenant = ONE,
    before: Iterable[Labels] = (),
) -> Sequence[TickRequest]:
    results = TickResults(frozenset(deltas))
    for labels in found:
        results.append(labels, TICK_S * 1000, 1.0)
    return tick_requests(tenant, 3, results, ("f;g", TICK_S), [set(before)])


class Stored:
    """Indexers that know each identity of a frame, and nothing else: the first counts."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.samples: Counter[tuple[int, str, tuple[tuple[str, str], ...]]] = Counter()

    def take(self, some: Iterable[TickRequest]) -> None:
        for request in some:
            parsed = parse(
                request.body, key=f"{KEY}/{request.name}", created_ms=TICK_S * 1000, latest_s=TICK_S + 60,
                max_messages=10_000,
            )  # fmt: skip
            assert not parsed.rejected
            (unit,) = parsed.units
            if unit.identity not in self.known:
                self.known.add(unit.identity)
                for one in request.messages:
                    tags = tuple(sorted(one["tags"].items()))
                    self.samples[one["project_id"], one["name"], tags] += 1


def many(name: str, numbers: Iterable[int]) -> list[Labels]:
    return [series(name, n=str(n)) for n in numbers]


FIRST = many("n", range(950))
OTHER = many("n", [*range(3), *range(40, 900), *range(950, 970)])


@pytest.mark.parametrize("deltas", [("n",), ()], ids=["counter", "gauge"])
@pytest.mark.parametrize("stored", [0, 1, 2, 3])
def test_no_series_is_stored_twice_whatever_a_second_evaluation_yields(
    stored: int, deltas: Sequence[str]
) -> None:
    """The first shim dies after some of its requests; the second one evaluates the tick once more."""
    first = requests(FIRST, deltas=deltas, before=() if deltas else FIRST)
    second = requests(OTHER, deltas=deltas, before=() if deltas else FIRST)
    assert len(first) > 2
    indexers = Stored()
    indexers.take(first[:stored])
    indexers.take(second)
    assert max(indexers.samples.values()) == 1
    taken = {name for _, name, _ in indexers.samples}
    assert taken == {"n", LAST_TICK}
    if stored == 0:
        assert len(indexers.samples) == len(OTHER) + 1


def test_deltas_are_stored_once_however_many_gauges_there_are() -> None:
    """A second evaluation has gauges for one request more, and another has none."""
    deltas = many("n", range(100))
    for first, second in ((10, 900), (900, 10), (0, 5), (5, 0)):
        indexers = Stored()
        for gauges in (first, second):
            indexers.take(requests([*deltas, *many("x", range(gauges))], deltas=["n"]))
        of_deltas = [count for (_, name, _), count in indexers.samples.items() if name == "n"]
        assert of_deltas == [1] * 100
        assert sum(name == "x" for _, name, _ in indexers.samples) == max(first, second)


def test_shims_that_see_different_projects_store_each_once() -> None:
    def of(*projects: int) -> list[Labels]:
        return [series("n", project_id=str(one)) for one in projects]

    indexers = Stored()
    for seen in (of(5, 8), of(4, 5), of(8), of(4, 3, 8)):
        indexers.take(requests(seen, deltas=["n"], tenant=ORG))
    counts = {project: n for (project, name, _), n in indexers.samples.items() if name == "n"}
    assert counts == {3: 1, 4: 1, 5: 1, 8: 1}


def test_the_tick_is_told_of_last() -> None:
    small = requests(many("x", range(3)))
    assert [(one.name, len(one.messages)) for one in small] == [("0", 4)]
    assert small[0].messages[-1]["name"] == LAST_TICK
    for several in (requests(many("x", range(900))), requests([series("x", project_id="5")], tenant=ORG)):
        assert [one["name"] for one in several[-1].messages] == [LAST_TICK]
        assert not [one for request in several[:-1] for one in request.messages if one["name"] == LAST_TICK]
    assert [one.name for one in requests([])] == ["0"]


def test_requests_are_bounded() -> None:
    sizes = [len(one.messages) for one in requests(many("x", range(5_000)))]
    assert sum(sizes) == 5_001
    assert max(sizes) <= 800
    results = TickResults(frozenset({"h"}))
    for n in range(10):
        one = RecordedHistogram(1.0, 0.0, [(index, 1.0) for index in range(20_000)], [])
        results.append_histogram(series("h", n=str(n)), TICK_S * 1000, one)
    found = tick_requests(ONE, 3, results, ("f;g", TICK_S))
    assert max(len(one.body) for one in found) < 1 << 20
    assert sum(len(one.messages) for one in found) == 11


def test_an_orgs_results_are_in_the_order_of_their_projects() -> None:
    labels = [series("x", project_id=one) for one in ("12", "9" * 5_000, "4")]
    found = requests(labels, tenant=ORG)
    assert [(one.name, one.project_id) for one in found] == [("0", 3), ("p4.0", 4), ("p12.0", 12), ("end", 3)]
