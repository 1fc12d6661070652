"""The parts of a tick: names that follow from content alone, and bounds of requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from shim.model import labels as lb
from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.rules.recorded_histogram import RecordedHistogram
from shim.rules.recorded_messages import CUT, LAST_TICK, TickResults
from shim.rules.tick_requests import TickPart, TickParts, TickRequest, tick_parts

TICK_S = 1_700_000_037
ONE = Tenant(7, 9)
ORG = Tenant(7, None)


def series(name: str, **labels: str) -> Labels:
    return lb.make({lb.NAME: name, **labels})


@pytest.fixture(autouse=True)
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut at a hundredth of the usual number."""
    monkeypatch.setattr("shim.rules.tick_requests._MAX_MESSAGES", 80)


def parts(found: Iterable[Labels], *, deltas: Sequence[str] = (), tenant: Tenant = ONE) -> TickParts:
    results = TickResults(frozenset(deltas))
    for labels in found:
        results.append(labels, TICK_S * 1000, 1.0)
    return tick_parts(tenant, 3, results, ("f;g", TICK_S))


def whole(some: Iterable[TickPart]) -> Sequence[TickRequest]:
    """Return the requests with messages, of parts that no earlier shim has cut."""
    return [one for part in some for one in ([part.request] if part.fits else whole(part.smaller()))]


def many(name: str, numbers: Iterable[int]) -> list[Labels]:
    return [series(name, n=str(n)) for n in numbers]


def test_a_series_has_the_same_way_through_the_parts_in_every_evaluation() -> None:
    """Which of the parts on its way stores it depends on how many others there are, the way does not."""
    names: dict[str, set[str]] = {}
    for count in (2_000, 200, 90):
        for one in whole(parts(many("n", range(count)), deltas=["n"]).parts):
            for message in one.messages:
                names.setdefault(message["tags"]["n"], set()).add(one.name)
    assert len(names) == 2_000
    for found in names.values():
        longest = max(found, key=len)
        assert all(longest.startswith(name) for name in found)
    assert {len(name) for name in names["0"]} == {3, 4}  # 0.d and 0.dd


def test_the_request_of_a_cut_is_the_same_in_every_evaluation() -> None:
    first, second = (parts(many("n", range(count)), deltas=["n"]).parts[0].cut for count in (1, 90))
    assert first == second
    assert (first.name, [one["name"] for one in first.messages]) == ("0", [CUT])
    (of_another,) = parts([series("x", project_id="5")], tenant=ORG).parts
    assert (of_another.cut.name, of_another.cut.messages[0]["project_id"]) == ("p5.0", 5)


def test_the_tick_is_told_of_last() -> None:
    small = parts(many("x", range(3)))
    assert small.told
    assert [(one.name, len(one.messages)) for one in whole(small.parts)] == [("0", 4)]
    assert small.parts[0].request.messages[-1]["name"] == LAST_TICK
    assert not [one for part in small.parts[0].smaller() for one in part.request.messages[1:]]
    for several in (
        parts(many("x", range(90))),
        parts([series("x", project_id="5")], tenant=ORG),
        parts(many("x", range(3)), deltas=["x"]),
    ):
        assert [one["name"] for one in several.end.messages] == [LAST_TICK]
        sent = [one for request in whole(several.parts) for one in request.messages]
        assert sent
        assert not [one for one in sent if one["name"] == LAST_TICK]
    nothing = parts([])
    assert (nothing.parts, nothing.end.name, nothing.told) == ([], "0", False)


def test_requests_are_bounded() -> None:
    sizes = [len(one.messages) for one in whole(parts(many("x", range(500))).parts)]
    assert sum(sizes) == 500
    assert max(sizes) <= 80
    results = TickResults(frozenset({"h"}))
    for n in range(10):
        one = RecordedHistogram(1.0, 0.0, [(index, 1.0) for index in range(20_000)], [])
        results.append_histogram(series("h", n=str(n)), TICK_S * 1000, one)
    found = whole(tick_parts(ONE, 3, results, ("f;g", TICK_S)).parts)
    assert max(len(one.body) for one in found) < 1 << 20
    assert sum(len(one.messages) for one in found) == 10


def test_messages_of_one_series_are_cut_no_further_than_their_hash() -> None:
    (part,) = parts([series("x")] * 81).parts
    while not part.fits:
        (part,) = part.smaller()
    assert (part.digits, len(part.whole.messages)) == (16, 81)


def test_an_orgs_results_are_in_the_order_of_their_projects() -> None:
    labels = [series("x", project_id=one) for one in ("12", "9" * 5_000, "4")]
    found = parts(labels, tenant=ORG)
    sent = [*whole(found.parts), found.end]
    assert [(one.name, one.project_id) for one in sent] == [("0", 3), ("p4.0", 4), ("p12.0", 12), ("end", 3)]
