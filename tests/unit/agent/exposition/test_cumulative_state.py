"""The totals that are exposed: each line counts once, bounds hold, and a scrape shows one moment."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from agent.exposition import cumulative_state
from agent.exposition.cumulative_state import KEY_CHARACTERS, CumulativeState
from agent.exposition.totals import MAX_BUCKETS
from tests.support.cores.rows import CORES
from tests.unit.agent.exposition.folded import Folded, T


@pytest.mark.parametrize("core", CORES)
def test_each_line_counts_once_over_buckets_and_frames(core: str) -> None:
    folded = Folded(core)
    for second in range(0, 50, 5):
        folded.add("hits:2|c|#route:a", "hits:1|c|@0.1|#route:b", "temp:20|g", f"temp:{second}|g",
                   "lat:3|d", "lat:-1|d", "lat:0|d", at_s=second, rows=1)  # fmt: skip
    found = folded.lines()
    assert found['hits{route="a"}'] == 20
    assert found['hits{route="b"}'] == 100
    assert found["temp{}"] == 45
    assert (found["lat_count{}"], found["lat_sum{}"]) == (30, 20)
    assert found['lat_bucket{le="0.0"}'] == 20
    assert {c.created_s for c in folded.state.published.counters.values()} == {T}


def test_a_set_shows_the_members_of_its_latest_bucket() -> None:
    folded = Folded()
    folded.add("users:a|s", "users:b|s")
    assert folded.lines() == {"users{}": 2}
    folded.add("users:b|s", "users:c|s", at_s=5)  # the same bucket, flushed twice
    assert folded.lines() == {"users{}": 3}
    folded.add("users:z|s", at_s=10)
    folded.add(f"users:d|s|T{T}", at_s=11)  # late
    assert folded.lines() == {"users{}": 1}
    assert folded.state.entries == 1


def test_rows_of_sets_that_meet_in_one_series_are_one_set() -> None:
    lines = [f"a{mark}b:{mark}{i % 7}|s" for i in range(20) for mark in ".-_"]
    folded = Folded(max_series=3).add(*lines, "a.b:z|s", rows=2).add("a-b:y|s", "a.b:z|s", at_s=5)
    assert folded.lines() == {"a_b{}": 23}
    folded.add(*(f"u:m{i}|s|#i:{i}" for i in range(30)), at_s=10)
    folded.add(*(f"u:m{i}|s|#i:{i}" for i in range(20, 40)), at_s=15)
    assert folded.lines() == {"a_b{}": 23, 'u{i="0"}': 1, 'u{i="1"}': 1, 'u{__overflow__="true"}': 38}
    assert folded.add("a.b:x|s", "a-b:w|s", "a-b:x|s", at_s=20).lines()["a_b{}"] == 2


def test_sets_beyond_the_bound_are_joined_once_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once a row: 10,000 rows would take 13 s."""
    calls: list[int] = []

    def union(parts: Sequence[bytes]) -> bytes:
        calls.append(len(parts))
        return b"".join(parts)

    monkeypatch.setattr(cumulative_state, "_union", union)
    Folded(max_series=1).add(*(f"u:m{i}|s|#i:{i}" for i in range(300)), rows=100)
    assert sum(calls) == 300 + 2  # two frames add to those before
    assert len(calls) == 4


def test_a_gauge_keeps_the_value_of_the_latest_time() -> None:
    folded = Folded().add("g:5|g", at_s=20)
    assert folded.add(f"g:3|g|T{T}", at_s=21).lines() == {"g{}": 5}


def test_a_clock_that_was_ahead_holds_no_gauge_or_set() -> None:
    folded = Folded(lifetime_s=lambda _: 60.0).add("g:5|g", "u:a|s", "u:b|s", at_s=7_200)
    folded.add("g:3|g", "u:c|s", at_s=10)  # the clock was put right
    assert folded.lines() == {"g{}": 3, "u{}": 1}
    folded.add("g:4|g", at_s=20).add(f"g:1|g|T{T}", f"u:d|s|T{T}", at_s=30)  # late: later ones are shown
    assert folded.lines() == {"g{}": 4, "u{}": 1}


def test_a_counter_never_falls() -> None:
    shown = [Folded().add("c:10|c").lines()["c{}"]]
    folded = Folded().add("c:10|c")
    for at_s, delta in ((10, -4), (20, 3), (30, 2)):
        shown.append(folded.add(f"c:{delta}|c", at_s=at_s).lines()["c{}"])
    assert shown == [10, 10, 10, 11]


@pytest.mark.parametrize("core", CORES)
def test_series_that_fold_to_one_name_are_one(core: str) -> None:
    folded = Folded(core)
    folded.add("a.b:1|c|#x.y:1", "a_b:2|c|#x_y:1", "a-b:4|c|#x-y:1", "a.b:8|c|#x.y:2")
    folded.add("a.b:16|c|#x.y:z,x_y:1", "a.b:32|c|#a_a:1,a.b:2", "a.b:64|c|#a.a:1,a_b:2", at_s=10)
    assert folded.lines() == {'a_b{x_y="1"}': 23, 'a_b{x_y="2"}': 8, 'a_b{a_a="1",a_b="2"}': 96}


def test_utf8_names_stay_apart() -> None:
    folded = Folded(utf8=True).add("a.b:1|c|#x.y:1", "a_b:2|c|#x_y:1")
    assert folded.lines(utf8=True) == {'{"a.b","x.y"="1"}': 1, 'a_b{x_y="1"}': 2}
    assert folded.lines() == {'U__a_2E_b{U__x_2E_y="1"}': 1, 'a_b{x_y="1"}': 2}


def test_of_two_types_of_a_name_the_first_keeps_it() -> None:
    folded = Folded().add("x:1|c").add("x:2|g", "x.count:3|c", "y:4|d", at_s=10)
    folded.add("x:5|d", "y.count:6|c", "y.sum:7|g", "y.created:8|g", at_s=20)
    found = folded.lines()
    assert (found["x{}"], found["x_count{}"], found["y_count{}"], found["y_sum{}"]) == (1, 3, 1, 4)
    assert folded.state.clashing_rows == 5


def test_a_name_is_free_again_when_its_series_expired() -> None:
    folded = Folded(lifetime_s=lambda _: 15.0).add("x:1|d").add("x:2|g", at_s=10)
    assert folded.state.clashing_rows == 1
    assert folded.add("x:2|g", "x_sum:3|g", at_s=20).add("x:4|g", "x_sum:5|g", at_s=30).lines() == {
        "x{}": 4, "x_sum{}": 5,
    }  # fmt: skip
    assert (folded.state.expired_series, folded.state.entries) == (1, 0)


def test_a_series_expires_after_its_lifetime_and_begins_anew() -> None:
    folded = Folded(lifetime_s={"short": 20.0, "long": math.inf, "set": 20.0, "d": 20.0}.__getitem__)
    folded.add("short:1|c", "long:1|c", "set:a|s", "d:1|d")
    assert len(folded.add(at_s=19.9).lines()) > 4
    assert folded.add(at_s=25).lines() == {"long{}": 1}
    assert (folded.state.expired_series, folded.state.entries, folded.state.series) == (3, 0, 1)
    assert folded.add("short:5|c", at_s=40).lines() == {"long{}": 1, "short{}": 5}
    created = {key[0]: value.created_s for key, value in folded.state.published.counters.items()}
    assert created == {"long": T, "short": T + 40}


def test_a_series_is_not_created_while_it_was_not_shown() -> None:
    """So a Prometheus may put a zero there: no earlier sample of the series is after it."""
    folded = Folded(started_s=T - 3.5).add(f"a:1|c|T{T - 60}", f"d:1|d|T{T - 60}", at_s=12.25)
    folded.add(f"b:1|c|T{T}", at_s=14)
    found = folded.state.published
    assert [one.created_s for one in found.counters.values()] == [T - 3.5, T + 12.25]
    assert [one.created_s for one in found.histograms.values()] == [T - 3.5]
    assert f"d_created{{}} {T - 3.5!r}\n" in folded.text(openmetrics=True)


def test_a_line_in_time_keeps_a_series() -> None:
    folded = Folded(lifetime_s=lambda _: 15.0)
    for at_s in range(0, 100, 10):
        folded.add("c:1|c", at_s=at_s)
    assert folded.lines() == {"c{}": 10}


def test_series_beyond_the_bound_are_one_and_totals_stay_right() -> None:
    folded = Folded(max_series=10, static={"pod": "p"})
    folded.add(*(f"hits:1|c|#id:{i},pod:p" for i in range(50)), *(f"new{i}:1|c" for i in range(5)))
    folded.add(*(f"hits:1|c|#id:{i},pod:p" for i in range(50)), at_s=10)
    found = folded.lines()
    assert sum(n for series, n in found.items() if series.startswith("hits")) == 100
    assert found['hits{__overflow__="true",pod="p"}'] == 80
    assert found['__overflow__{__overflow__="true",pod="p"}'] == 5
    assert folded.state.series == 12
    assert folded.state.overflow_rows == 85


@pytest.mark.parametrize(("utf8", "name"), [(False, "data_center"), (True, '"data.center"')])
def test_the_series_beyond_the_bound_has_its_tags_as_others_have(utf8: bool, name: str) -> None:
    folded = Folded(max_series=1, static={"data.center": "x"}, utf8=utf8)
    folded.add("hits:1|c|#data.center:x", "hits:2|c|#data.center:x,id:1")
    labels = [f'__overflow__="true",{name}="x"', f'{name}="x"']
    assert sorted(folded.lines(utf8=utf8)) == sorted(f"hits{{{one}}}" for one in labels)


def test_a_histogram_of_many_buckets_becomes_coarser_and_loses_nothing() -> None:
    folded = Folded(max_entries=1_000_000)
    for start in range(0, 3_000, 500):
        folded.add(*(f"d:{1.03**i!r}|d" for i in range(start, start + 500)), at_s=start)
    (total,) = folded.state.published.histograms.values()
    assert total.entries <= MAX_BUCKETS
    assert total.schema < 5
    assert total.count == sum(total.positive.values()) == 3_000
    bound = 2.0 ** (1 / 2**total.schema)
    assert all(bound ** (i - 1) <= 1.03**3_000 * 1.01 for i in total.positive)


def test_histograms_together_are_bounded() -> None:
    folded = Folded(max_entries=400)
    for i in range(20):
        folded.add(*(f"d:{1.1**k!r}|d|#i:{i}" for k in range(100)), at_s=i)
    assert folded.state.entries <= 400 + 20 * 8
    assert sum(one.count for one in folded.state.published.histograms.values()) == 2_000


def test_members_of_sets_are_bounded() -> None:
    folded = Folded(max_entries=100)
    folded.add(*(f"s:{m}|s|#i:{i}" for i in range(20) for m in range(10)))
    assert folded.state.entries == 100
    assert set(folded.lines().values()) == {10}
    folded.add("s:new|s|#i:0", "s:new|s|#i:19", at_s=5)  # members of the first are forgotten
    assert (folded.lines()['s{i="0"}'], folded.lines()['s{i="19"}']) == (10, 11)


def test_a_scrape_shows_one_moment() -> None:
    folded = Folded().add("a:1|c", "b:1|c", "d:1|d")
    before = folded.state.published
    folded.fold("a:1|c", "b:1|c", "d:2|d", at_s=10, rows=1)
    assert folded.lines() == folded.lines()
    assert folded.lines()["a{}"] == 1
    folded.state.publish(10, T + 10)
    assert folded.lines()["a{}"] == folded.lines()["b{}"] == 2
    assert {total.highest for total in before.counters.values()} == {1}
    assert [total.count for total in before.histograms.values()] == [1]


def test_a_tag_that_is_a_boundary_or_a_name_is_no_second_one() -> None:
    folded = Folded().add("d:1|d|#le:x,exported_le:y", "d:1|d|#le:z", "c:1|c|#__name__:other,le:1")
    found = folded.lines()
    assert found['d_count{exported_le="y"}'] == found['d_count{exported_le="z"}'] == 1
    assert found['c{le="1"}'] == 1


def test_nothing_is_shown_before_the_first_line() -> None:
    state = CumulativeState(max_series=1, max_entries=1, lifetime_s=lambda _: 1.0, started_s=0.0)
    state.publish(0.0, 0.0)
    assert state.published.series == 0


def test_long_tags_use_up_the_series_bound() -> None:
    """200,000 series of 8 KiB would need gigabytes; an expired series makes room again."""
    folded = Folded(max_series=300, lifetime_s=lambda _: 60.0)
    lines = [f"hits:1|c|#i:{i:0800}" for i in range(300)]
    folded.add(*lines)
    own = 300 * KEY_CHARACTERS // len("hits" + "i" + f"{0:0800}")
    found = folded.lines()
    assert len(found) == own + 1
    assert found['hits{__overflow__="true"}'] == 300 - own
    folded.add(*lines[:own], at_s=30)
    folded.add(*lines[own:], at_s=100)
    assert folded.add(*lines[own:], at_s=170).lines()[f'hits{{i="{own:0800}"}}'] == 1
