"""Building a plan: every time is absolute, as in Prometheus; every unsupported construct is named."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shim.model.errors import BadData, ExecutionError, QueryError, Unsupported
from shim.model.grid import Grid
from shim.plan import supported
from shim.plan.build import build
from shim.plan.nodes import (
    Binary,
    Call,
    Info,
    Node,
    Number,
    PlanContext,
    RangeCall,
    RawSubquery,
    SampleTimes,
    Select,
    SubqueryCall,
)
from shim.plan.parse import parse
from shim.plan.rules import RULES, apply
from shim.plan.text import render
from shim.promql.query_size import MAX_DEPTH, MAX_OPERATORS

GRID = Grid(1_000_000, 2_000_000, 100_000)
AT = Grid.instant(1_000_000)


def plan(text: str, grid: Grid = GRID, **context: int) -> Node:
    return build(parse(text), PlanContext(grid, **context))  # type: ignore[arg-type] # flags are ints, too


def lines(text: str, grid: Grid = GRID) -> Sequence[str]:
    return [line.strip() for line in render(plan(text, grid)).splitlines()]


def select(text: str, grid: Grid = GRID) -> Select:
    found = plan(text, grid)
    assert isinstance(found, Select)
    return found


def subquery(text: str, grid: Grid = GRID) -> SubqueryCall:
    found = plan(text, grid)
    assert isinstance(found, SubqueryCall)
    return found


# ---------------------------------------------------------------- where a selector looks


@pytest.mark.parametrize(
    ("modifiers", "looks_at"),
    [
        ("", GRID),
        ("offset 5m", Grid(700_000, 1_700_000, 100_000)),
        ("offset -5m", Grid(1_300_000, 2_300_000, 100_000)),
        ("offset 1500ms", Grid(998_500, 1_998_500, 100_000)),
        ("@ 1234", Grid.instant(1_234_000)),
        ("@ 1234.5678", Grid.instant(1_234_568)),
        ("@ 0", Grid.instant(0)),
        ("@ start()", Grid.instant(1_000_000)),
        ("@ end()", Grid.instant(2_000_000)),
        ("@ 1234 offset 34s", Grid.instant(1_200_000)),
        ("offset 34s @ 1234", Grid.instant(1_200_000)),
        ("@ end() offset -1m", Grid.instant(2_060_000)),
    ],
)
def test_at_and_offset(modifiers: str, looks_at: Grid) -> None:
    assert select(f"x {modifiers}").at == looks_at
    assert select(f"x {modifiers}").grid == GRID  # the place of its value
    ranged = plan(f"rate(x[5m] {modifiers})")
    assert isinstance(ranged, RangeCall)
    assert (ranged.window.ends, ranged.window.window_ms) == (looks_at, 300_000)


@pytest.mark.parametrize("time", ["1e12", "1e18", "99999999999999"])
def test_times_far_off_are_refused(time: str) -> None:
    """Prometheus refuses times beyond milliseconds in 64 bits; we stop where floats are no longer exact."""
    if float(time) * 1000 > 1 << 53:
        with pytest.raises(BadData, match="timestamp out of bounds for @ modifier"):
            plan(f"x @ {time}")
    else:
        assert select(f"x @ {time}").at == Grid.instant(int(float(time) * 1000))


def test_lookback_and_subquery_step_come_from_the_server() -> None:
    found = plan("x", lookback_ms=1_234)
    assert isinstance(found, Select)
    assert found.lookback_ms == 1_234
    sub = plan("max_over_time(x[5m:])", subquery_step_ms=30_000)
    assert isinstance(sub, SubqueryCall)
    assert sub.inner is not None
    assert sub.inner.grid.step_ms == 30_000


# ---------------------------------------------------------------- subqueries


@pytest.mark.parametrize(
    ("text", "first_ms", "last_ms", "step_ms"),
    [
        # multiples of the step in (start - range, end]
        ("[5m:1m]", 720_000, 1_980_000, 60_000),
        ("[5m:100s]", 800_000, 2_000_000, 100_000),  # 700 s itself is left out: left-open, as in 3.x
        ("[5m:]", 720_000, 1_980_000, 60_000),
        ("[5m:7s]", 707_000, 1_995_000, 7_000),
        ("[5m:1m] offset 30s", 720_000, 1_920_000, 60_000),
        ("[5m:1m] @ 1000", 720_000, 960_000, 60_000),
        ("[5m:1m] @ start() offset 40s", 720_000, 960_000, 60_000),
        ("[10s:1ms] @ 1", -8_999, 1_000, 1),  # before 1970, too
    ],
)
def test_subqueries_are_aligned(text: str, first_ms: int, last_ms: int, step_ms: int) -> None:
    found = subquery(f"sum_over_time(x{text})")
    assert found.inner is not None
    assert found.inner.grid == Grid(first_ms, last_ms, step_ms)


def test_a_subquery_without_a_point_has_nothing_inside() -> None:
    found = subquery("sum_over_time(x[10s:1h])", Grid.instant(7_000_000))
    assert found.inner is None
    assert render(apply(found, RULES))


def test_start_and_end_are_those_of_the_whole_query() -> None:
    found = subquery("max_over_time(sum(x @ end() + x @ start())[5m:1m] offset 10m)")
    text = render(found)
    assert "@2000s" in text
    assert "@1000s" in text


def test_subqueries_inside_subqueries_reach_further_back() -> None:
    text = lines("max_over_time(max_over_time(rate(x[1m])[10m:1m])[1h:5m])", AT)
    assert text == [
        "max_over_time subquery @1000s window 3600s",
        "max_over_time subquery @-2400s..900s/300s window 600s",
        'rate {__name__="x"} @-2940s..900s/60s window 60s',
    ]


def test_an_endless_subquery_is_refused_before_anything_is_read() -> None:
    subquery("max_over_time(x[1000000s:1s])", AT)
    with pytest.raises(ExecutionError, match="subquery of 1000001 steps: at most 1000000 are evaluated"):
        plan("max_over_time(x[1000001s:1s])", AT)


# ---------------------------------------------------------------- functions


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('x{a="1",b="2"}', {"a": "1", "b": "2"}),
        ('x{a="1",b!="2",c=~"3"}', {"a": "1"}),
        ('x{a="1",a="2",b="3"}', {"b": "3"}),
        ('x{a="1",a!="2"}', {}),
        ('x{a!="2",a="1"}', {"a": "1"}),  # as Prometheus: only a matcher after an equality takes it away
        ('x{a=""}', {}),
        ('{__name__="x",a="1"}', {"a": "1"}),
        ("sum(x)", {}),
    ],
)
def test_absent_answers_with_what_equality_fixes(text: str, labels: dict[str, str]) -> None:
    found = plan(f"absent({text})")
    assert isinstance(found, Call)
    assert dict(found.absent_labels) == labels
    if text.startswith("x"):
        over_time = plan(f"absent_over_time({text}[5m])")
        assert isinstance(over_time, Call)
        assert over_time.function == "absent"
        assert dict(over_time.absent_labels) == labels


def test_absent_over_time_asks_whether_anything_is_there() -> None:
    assert lines("absent_over_time(x[5m])", AT) == [
        "absent()", 'present_over_time {__name__="x"} @1000s window 300s'
    ]  # fmt: skip
    assert lines("absent_over_time(x[5m:1m])", AT)[1] == "present_over_time subquery @1000s window 300s"


def test_timestamp_of_a_selector_asks_for_the_samples_times() -> None:
    assert isinstance(plan("timestamp(x)"), SampleTimes)
    assert isinstance(plan("timestamp((x offset 5m))"), SampleTimes)
    assert isinstance(plan("timestamp(x + 1)"), Call)
    assert isinstance(plan("timestamp(timestamp(x))"), Call)


def test_parentheses_leave_no_trace() -> None:
    assert plan("((rate((x[5m]))))") == plan("rate(x[5m])")
    assert plan("(((1)))") == Number(GRID, 1.0)


def test_equal_leaves_are_equal() -> None:
    """The evaluator reads equal operands once."""
    both = plan("sum(rate(x[5m])) / sum(rate(x[5m]))")
    assert hash(both.left) == hash(both.right)  # type: ignore[union-attr]
    assert both.left == both.right  # type: ignore[union-attr]


# ---------------------------------------------------------------- operators


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a + b", "+"),
        ("a + on (x, y) b", "+ on (x, y)"),
        ("a + on () b", "+ on ()"),
        ("a > bool ignoring (x) b", "> bool ignoring (x)"),
        ("a * on (x) group_left (y, z) b", "* on (x) group_left (y, z)"),
        ("a * ignoring (x) group_right b", "* ignoring (x) group_right ()"),
        ("a and on (x) b", "and on (x)"),
        ("a OR b", "or"),
        ("a unless ignoring (x) b", "unless ignoring (x)"),
        ("a atan2 b", "atan2"),
        ("a ^ b", "^"),
    ],
)
def test_operators_and_matching(text: str, line: str) -> None:
    assert lines(text, AT)[0] == line


def test_precedence_is_that_of_prometheus() -> None:
    assert plan("1 + 2 * 3 ^ 2 ^ 1") == plan("1 + (2 * (3 ^ (2 ^ 1)))")
    assert plan("-1 ^ 2") == plan("-(1 ^ 2)")
    assert plan("a or b and c unless d") == plan("a or ((b and c) unless d)")
    assert plan("1 - 2 - 3") == plan("(1 - 2) - 3")
    assert plan("a > b + 1") == plan("a > (b + 1)")


def test_aggregations() -> None:
    assert lines("sum(x)")[0] == "sum by ()"
    assert lines("sum by (a, b) (x)")[0] == lines("sum (x) by (a, b)")[0] == "sum by (a, b)"
    assert lines("topk without (a) (3, x)", AT) == [
        "topk without (a)", "number 3", 'select {__name__="x"} @1000s lookback 300s'
    ]  # fmt: skip
    assert lines('count_values("v", x)', AT)[1] == "string 'v'"


def test_fill_modifiers() -> None:
    assert lines("a + fill (0) b", AT)[0] == "+ fill_left (0) fill_right (0)"
    assert lines("a / on (x) group_left fill_right (-1) b", AT)[0] == (
        "/ on (x) group_left () fill_right (-1)"
    )
    assert lines("-(a) + fill_left (NaN) (1 + abs(b))", AT)[0] == "+ fill_left (nan)"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("start()", 1000),
        ("end()", 2000),
        ("range()", 1000),
        ("step()", 100),
        ("max_over_time((x + step())[5m:1s])", 100),
    ],
)
def test_numbers_of_the_query(text: str, value: float) -> None:
    found = plan(text)
    if isinstance(found, SubqueryCall):  # inside of a subquery they are about the whole query, too
        assert isinstance(found.inner, Binary)
        found = found.inner.right
    assert isinstance(found, Number)
    assert found.value == value


def test_numbers_of_an_instant_query() -> None:
    values = [plan(f"{name}()", AT) for name in ("start", "end", "range", "step")]
    assert [v.value for v in values if isinstance(v, Number)] == [1000, 1000, 0, 0]
    one_point = plan("step()", Grid(1_000_000, 1_000_000, 60_000))
    assert isinstance(one_point, Number)
    assert one_point.value == 60


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("info(x)", GRID),
        ("info(x @ 60)", Grid.instant(60_000)),
        ("info(rate(x[5m] offset 1m))", Grid(940_000, 1_940_000, 100_000)),
        ("info(last_over_time(x[10m:1m] @ 420))", Grid.instant(420_000)),
        ("info(last_over_time((x offset 1m)[10m:1m] @ 180))", Grid.instant(120_000)),
        ("info(last_over_time(x[5m:1m] offset 6m))", Grid(640_000, 1_640_000, 100_000)),
        ("info(1 + -sum(x @ 7) / y)", Grid.instant(7_000)),
        ("info(vector(1))", GRID),
    ],
)
def test_info_series_are_looked_for_where_the_samples_are(text: str, at: Grid) -> None:
    found = plan(text)
    assert isinstance(found, Info)
    assert found.source.select.at == at
    assert found.source.of_info


def test_info_takes_label_selectors() -> None:
    found = plan('info(x, {a="b"})')
    assert isinstance(found, Info)
    assert [str(m) for m in found.source.select.matchers] == ['__name__="target_info"', 'a="b"']
    assert lines('info(x, {a="b"})', AT)[0] == 'info {a="b"}'
    for text in ("info(x, y)", 'info(x, y{a="b"})', "info(x, rate(y[5m]))"):
        with pytest.raises(BadData, match="expected label selectors only"):
            plan(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a and fill (0) b", "not allowed for set operators"),
        ("a + fill_left (0) 1", "only allowed between instant vectors"),
        ("-(1 + 2) + fill (0) b", "only allowed between instant vectors"),
        ("time() + fill (0) b", "only allowed between instant vectors"),
    ],
)
def test_fill_modifiers_are_for_vectors(text: str, message: str) -> None:
    with pytest.raises(BadData, match=message):
        plan(text)


@pytest.mark.parametrize(
    "text", ["max_of(1, 2)", "limitk(1, x)", "mad_over_time(x[5m])", "sum(a + fill (0) b)", "info(x)"]
)
def test_what_is_experimental_can_be_turned_off(text: str) -> None:
    with pytest.raises(Unsupported, match="not enabled"):
        plan(text, experimental=False)


def test_a_subquery_as_the_whole_query() -> None:
    found = plan("x[5m:1m]", AT)
    assert isinstance(found, RawSubquery)
    assert found.inner is not None
    assert found.inner.grid == Grid(720_000, 960_000, 60_000)
    assert lines("rate(x[1m])[5m:1m] offset 10m", AT)[0] == "samples of subquery"
    assert plan("x[10s:1m]", AT) == RawSubquery(AT, None)


# ---------------------------------------------------------------- refused expressions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{a=~"("}', r"missing closing \): `\(`"),
        ('x{a="1" or b="2"}', 'unexpected identifier "or" in label matching'),
        ('{a!="b"}', None),
        ('{a!~"b"}', None),
        ('{a=~"b*"}', "must contain at least one non-empty matcher"),
        ('{a!=""}', None),
        ('{a=~".+"}', None),
    ],
)
def test_matchers(text: str, message: str | None) -> None:
    empty_matches = text in ('{a!="b"}', '{a!~"b"}')
    if message is None and not empty_matches:
        assert select(text)
        return
    with pytest.raises(BadData, match=message or "must contain at least one non-empty matcher"):
        plan(text)


def test_every_function_of_the_registries_is_planned_or_refused_by_the_parser() -> None:
    """No name in the registries that PromQL text cannot reach."""
    for name in [*supported.functions(), *supported.range_functions()]:
        tried: list[str] = []
        for args in ("x[5m]", "x", "", "1", "0.5, x", "0.5, x[5m]", "x[5m], 0.5", "x[5m], 0.5, 0.5", "x, 1",
                     "x, 1, 2", "1, 2, x", "1, 2", 'x, "a"', 'x, "a", 1', 'x, "a", "b"',
                     'x, "a", "b", "c", "d"'):  # fmt: skip
            try:
                plan(f"{name}({args})", AT)
                break
            except QueryError as e:
                tried.append(str(e))
        else:
            pytest.fail(f"{name}: {tried}")


# ---------------------------------------------------------------- depth

DEEPEST = {
    "operators": "1" + " + 1" * MAX_OPERATORS,
    "signs": "-" * MAX_OPERATORS + "x",
    "calls": "abs(" * MAX_DEPTH + "x" + ")" * MAX_DEPTH,
    "aggregations": "sum(" * MAX_DEPTH + "x" + ")" * MAX_DEPTH,
    "all": "x" + " + x" * (MAX_OPERATORS // 2) + " + -" * (MAX_OPERATORS // 4) + "abs(" * MAX_DEPTH + "x"
           + ")" * MAX_DEPTH,
    "powers": "x" + "^x" * MAX_OPERATORS,
    "powers of calls": "x ^ abs(" * 99 + "x" + "^x" * (MAX_OPERATORS - 99) + ")" * 99,
    "subqueries": "max_over_time(" * 30 + "x" + "[1m:1m])" * 30,
}  # fmt: skip


@pytest.mark.parametrize("name", DEEPEST)
def test_the_deepest_text_that_parses_is_planned_or_refused(name: str) -> None:
    text = DEEPEST[name]
    try:
        found = apply(plan(text, AT), RULES)
    except BadData as e:
        assert str(e) == "parse error: nested too deep"  # noqa: PT017 - either outcome is right
        return
    assert render(found)
