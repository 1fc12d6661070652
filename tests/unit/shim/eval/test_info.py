"""info() on small grids: the cases of Prometheus' info.test, also those that a StatsD line cannot carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from shim.eval.info import info, info_matchers
from shim.model.errors import ExecutionError
from shim.model.labels import NAME, Labels, dropping_name
from shim.model.matchers import Matcher
from shim.model.values import Vector
from tests.unit.shim.eval.make import Cell, histogram, labels, rows, texts, vector

METRIC = "metric{instance=a,job=1,label=v}"
TARGET = "target_info{instance=a,job=1,data=info,more=x}"
ANY_INFO = (Matcher(NAME, "=~", ".+_info"),)


def told(base: Vector, times_s: Mapping[str, Sequence[Cell]], *given: Matcher) -> dict[Labels, list[Cell]]:
    """Return the present part of the answer; `times_s`: when each info series was sampled, step by step."""
    times = vector(times_s) if times_s else Vector.empty(base.steps)
    found = rows(info(base, times, given or None))
    return {name: cells for name, cells in found.items() if cells != [None] * len(cells)}


def test_all_data_labels_or_those_asked_for() -> None:
    base, times = vector({METRIC: [0, 1]}), {TARGET: [5.0, 6.0]}
    everything = texts({"metric{instance=a,job=1,label=v,data=info,more=x}": [0, 1]})
    assert told(base, times) == everything
    one = texts({"metric{instance=a,job=1,label=v,data=info}": [0, 1]})
    assert told(base, times, Matcher("data", "=~", ".+")) == one


def test_without_a_partner_it_stays_or_goes() -> None:
    base, times = vector({"metric{instance=a,job=2}": [1]}), {TARGET: [5.0]}
    assert told(base, times) == rows(base)
    assert told(base, times, Matcher("data", "=~", ".*")) == rows(base)
    assert told(base, times, Matcher("data", "=~", ".+")) == {}
    assert told(base, {}, *ANY_INFO) == rows(base)
    nameless = vector({"metric{x=1}": [1]})
    assert told(nameless, {"target_info{data=info}": [5.0]}) == rows(nameless)


def test_own_labels_win_and_conflicts_are_refused() -> None:
    base = vector({"metric{instance=a,job=1,data=own}": [1]})
    assert told(base, {TARGET: [5.0]}, Matcher("data", "=", "info")) == rows(base)
    times: dict[str, list[Cell]] = {
        "target_info{instance=a,job=1,x=t}": [5.0],
        "build_info{instance=a,job=1,x=b}": [5.0],
    }
    with pytest.raises(ExecutionError, match="conflicting label: x"):
        told(vector({METRIC: [1]}), times, *ANY_INFO)
    agreeing: dict[str, list[Cell]] = {
        "target_info{instance=a,job=1,x=t}": [5.0],
        "build_info{instance=a,job=1,y=b}": [5.0],
    }
    found = told(vector({METRIC: [1]}), agreeing, *ANY_INFO)
    assert found == texts({"metric{instance=a,job=1,label=v,x=t,y=b}": [1]})


def test_the_newest_info_series_counts_step_by_step() -> None:
    times: dict[str, list[Cell]] = {
        "target_info{instance=a,job=1,data=old}": [0.0, 300.0, 300.0],
        "target_info{instance=a,job=1,data=new}": [None, None, 600.0],
    }
    assert told(vector({"metric{instance=a,job=1}": [0.0, 1.0, 2.0]}), times) == texts({
        "metric{instance=a,job=1,data=old}": [0.0, 1.0, None],
        "metric{instance=a,job=1,data=new}": [None, None, 2.0],
    })  # fmt: skip
    times["target_info{instance=a,job=1,data=new}"] = [None, 300.0, None]
    with pytest.raises(
        ExecutionError, match=r"found duplicate series for info metric: existing \{.*@ 300000"
    ):
        told(vector({"metric{instance=a,job=1}": [0.0, 1.0, 2.0]}), times)


def test_gone_info_leaves_the_series_bare() -> None:
    base = vector({"metric{instance=a,job=1}": [0.0, 1.0, 2.0]})
    times: dict[str, list[Cell]] = {"target_info{instance=a,job=1,data=x}": [0.0, 300.0, None]}
    assert told(base, times) == texts({
        "metric{instance=a,job=1,data=x}": [0.0, 1.0, None], "metric{instance=a,job=1}": [None, None, 2.0],
    })  # fmt: skip
    assert told(base, times, Matcher("data", "=~", ".+")) == texts(
        {"metric{instance=a,job=1,data=x}": [0.0, 1.0, None]}
    )


def test_info_series_themselves_are_left_alone() -> None:
    build = vector({"build_info{instance=a,job=1,b=x}": [1.0]})
    target: dict[str, list[Cell]] = {TARGET: [5.0]}
    assert told(build, target, *ANY_INFO, Matcher("more", "=~", ".+")) == rows(build)
    two = (Matcher(NAME, "=~", "target_.+"), *ANY_INFO)  # matched by one of both: it is told about
    told_about = texts({"build_info{instance=a,job=1,b=x,data=info,more=x}": [1.0]})
    assert told(build, target, *two) == told_about
    assert told(build, target, *ANY_INFO, Matcher(NAME, "!~", "build.*")) == told_about


def test_only_series_that_are_there_say_what_is_meant() -> None:
    """Otherwise the job of a series long gone would ask for info series with a job."""
    base = vector({"metric{instance=a}": [1.0], "metric{instance=a,job=1}": [None]})
    times: dict[str, list[Cell]] = {"custom_info{instance=a,more=x}": [5.0]}
    asked = Matcher(NAME, "=", "custom_info")
    assert told(base, times, asked) == texts({"metric{instance=a,more=x}": [1.0]})
    both = vector({"metric{instance=a}": [1.0], "metric{instance=a,job=1}": [1.0]})
    assert told(both, times, asked) == rows(both)


def test_names_that_are_to_go_and_histograms() -> None:
    gone = vector({}, {"lat{instance=a,job=1}": histogram([1.0, 2.0])})
    found = info(gone, vector({TARGET: [5.0]}), None)
    assert found.histogram_labels == [labels("lat{instance=a,job=1,data=info,more=x}")]
    dropped = vector({METRIC: [1.0]})
    dropped = Vector(1, [dropping_name(one) for one in dropped.labels], dropped.values, dropped.present)
    assert told(dropped, {TARGET: [5.0]}) == texts({"{instance=a,job=1,label=v,data=info,more=x}": [1.0]})


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ((), ["target_info"]),
        ((Matcher("a", "=", "b"),), ["target_info"]),
        ((Matcher(NAME, "=", "x"),), ["x"]),
        ((Matcher(NAME, "!=", "target_info"),), [".+_info", "target_info"]),
    ],
)
def test_which_info_series_are_looked_for(given: tuple[Matcher, ...], names: list[str]) -> None:
    assert [m.value for m in info_matchers(given) if m.name == NAME] == names
