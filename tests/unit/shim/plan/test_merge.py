"""The rule that sums where the data is."""

from __future__ import annotations

import pytest

from shim.model.grid import Grid
from shim.plan.build import build
from shim.plan.nodes import PlanContext
from shim.plan.parse import parse
from shim.plan.rules import apply
from shim.plan.rules.merge import merge_sums
from shim.plan.text import render


def first_line(text: str) -> str:
    return render(apply(build(parse(text), PlanContext(Grid.instant(0))), [merge_sums])).splitlines()[0]


@pytest.mark.parametrize("function", ["increase", "rate", "sum_over_time", "uniq_over_time"])
def test_sums_of_what_merges(function: str) -> None:
    assert first_line(f"sum by (a) ({function}(x[5m]))") == "merged sum by (a)"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sum(x)", "merged sum by ()"),
        ("sum without (a) (x)", "merged sum without (a)"),
        ("sum(sum by (a) (x))", "merged sum by () of sum by (a)"),
        ("sum by (a) (sum without (b) (sum by (a, b, c) (x)))",
         "merged sum by (a) of sum without (b) of sum by (a, b, c)"),
        ("avg(x)", "avg by ()"),
        ("sum(irate(x[5m]))", "sum by ()"),
        ("sum(max_over_time(x[5m]))", "sum by ()"),
        ("sum(-x)", "sum by ()"),
        ("sum(avg(x))", "sum by ()"),
        ("avg(sum(x))", "avg by ()"),
        ("sum(rate(x[5m:1m]))", "sum by ()"),
        ("sum(x > 1)", "sum by ()"),
    ],
)  # fmt: skip
def test_what_is_merged_and_what_is_not(text: str, line: str) -> None:
    assert first_line(text) == line


AROUND = (
    "abs({})",
    "-{}",
    "{} + 1",
    "1 / {}",
    "topk(1, {})",
    "max_over_time(({})[5m:1m])",
    "vector(scalar({}))",
    "quantile_over_time(scalar({}), y[5m])",
    "topk(scalar({}), y)",
)


@pytest.mark.parametrize("around", AROUND)
def test_everywhere_in_a_plan(around: str) -> None:
    plan = apply(build(parse(around.format("sum(rate(x[5m]))")), PlanContext(Grid.instant(0))), [merge_sums])
    assert "merged sum by ()" in render(plan)
