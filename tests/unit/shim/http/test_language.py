"""format_query and parse_query: the text and the tree of an expression, as Prometheus 3.x gives them."""

from __future__ import annotations

from typing import Any

import pytest

from shim.model.durations import format_duration
from shim.model.errors import BadData
from shim.plan.parse import parse
from shim.promql import printer as layout
from shim.promql.ast_json import ast_json
from shim.promql.printer import format_query
from shim.promql.typecheck import type_of

NO_FILL = {"lhs": None, "rhs": None}


def test_each_node_is_laid_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A visit for each level above took seconds."""
    laid_out = layout._laid_out
    visits = 0

    def counted(node: Any, level: int) -> Any:
        nonlocal visits
        visits += 1
        return laid_out(node, level)

    monkeypatch.setattr(layout, "_laid_out", counted)
    node = parse(" + ".join(["requests_total"] * 200))
    assert format_query(node).count("requests_total") == 200
    assert visits == 399
    visits = 0
    format_query(parse("-" * 50 + "(" * 40 + "requests_total" + ")" * 40))
    assert visits == 91


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("a", "a"),
        ("a{}", "a"),
        ("a { c!='d', b = 'c' }", 'a{b="c",c!="d"}'),
        ('{"a.b"="c",__name__=~"x.*"}', '{"a.b"="c",__name__=~"x.*"}'),
        ('{"http.requests"}', '{__name__="http.requests"}'),
        ('a{b="q\\"\\n"}', 'a{b="q\\"\\n"}'),
        ("a[5m]", "a[5m]"),
        ("a[90s] offset 1d", "a[1m30s] offset 1d"),
        ("a offset -1w", "a offset -1w"),
        ("a @ 1.5 offset 8d", "a @ 1.500 offset 8d"),
        ("a @ start()", "a @ start()"),
        ("a[5m:]", "a[5m:]"),
        ("a[1h:30s] @ end() offset 1m", "a[1h:30s] @ end() offset 1m"),
        ("sum(a) by(x,y)", "sum by (x, y) (a)"),
        ("sum by() (a)", "sum(a)"),
        ("sum without() (a)", "sum without () (a)"),
        ("topk ( 3,a )", "topk(3, a)"),
        ("quantile by(x) (0.9,a)", "quantile by (x) (0.9, a)"),
        ("count_values('v',a)", 'count_values("v", a)'),
        ("a+b", "a + b"),
        ("a==bool 1", "a == bool 1"),
        ("a and on() b", "a and on () b"),
        ("a + ignoring(x) b", "a + ignoring (x) b"),
        ("a + on(x) group_left fill(0) b", "a + on (x) group_left () fill (0) b"),
        ("a == bool fill_left(-1) fill_right(NaN) b", "a == bool fill_left (-1) fill_right (NaN) b"),
        ("a * on(x,y) group_left(z) b", "a * on (x, y) group_left (z) b"),
        ("a * group_right b", None),
        ("a / ignoring(x) group_right b", "a / ignoring (x) group_right () b"),
        ("-a", "-a"),
        ("-(a)", "-(a)"),
        ("1e3", "1000"),
        ("1e21", "1000000000000000000000"),
        ("0.00001", "0.00001"),
        ("-0", "-0"),
        ('"\\x01\\u2028\\v"', r'"\x01\u2028\v"'),
        ("a + fill(1e6) b", "a + fill (1e+06) b"),
        ("Inf", "+Inf"),
        ("nan", "NaN"),
        ('"x"', '"x"'),
        ("time()", "time()"),
        ("histogram_quantile(0.9,sum by(le)(rate(a_bucket[5m])))",
         "histogram_quantile(0.9, sum by (le) (rate(a_bucket[5m])))"),
    ],
)  # fmt: skip
def test_one_line(text: str, formatted: str | None) -> None:
    if formatted is None:
        with pytest.raises(BadData):
            parse(text)
        return
    assert format_query(parse(text)) == formatted
    assert format_query(parse(formatted)) == formatted  # the printed text reads back


LONG = (
    'very_long_metric_name_number_one{label_1="the value one",label_2="the value two",label_3="value three"}'
)


def test_long_expressions_are_split() -> None:
    assert format_query(parse(f"sum by (a) (rate({LONG}[5m]))")) == (
        f"sum by (a) (\n  rate(\n    {LONG}[5m]\n  )\n)"
    )
    assert format_query(parse(f"{LONG} / on (x) b")) == f"  {LONG}\n/ on (x)\n  b"
    assert format_query(parse(f"topk(3, ({LONG}))")) == f"topk(\n  3,\n  (\n    {LONG}\n  )\n)"
    assert format_query(parse(f"-clamp({LONG}, 0, 1)")) == f"-clamp(\n  {LONG},\n  0,\n  1\n)"
    assert format_query(parse(f"sum({LONG})[1h:]")) == f"sum(\n  {LONG}\n)[1h:]"


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (1, "1ms"),
     (90_000, "1m30s"), (604_800_000, "1w"), (691_200_000, "8d"), (31_536_000_000, "1y"),
     (3_600_001, "1h1ms")],
)  # fmt: skip
def test_durations(ms: int, text: str) -> None:
    assert format_duration(ms) == text


def selector(name: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "vectorSelector",
        "name": name,
        "matchers": [{"name": "__name__", "value": name, "type": "="}],
        "offset": 0,
        "timestamp": None,
        "startOrEnd": None,
    } | more


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", selector("a")),
        ("a offset 5m", selector("a", offset=300_000)),
        ("a @ 1.5", selector("a", timestamp=1500)),
        ("a @ end()", selector("a", startOrEnd="end")),
        ("a[5m]", selector("a", type="matrixSelector", range=300_000)),
        ("1.5", {"type": "numberLiteral", "val": "1.5"}),
        ('"x"', {"type": "stringLiteral", "val": "x"}),
        ("(a)", {"type": "parenExpr", "expr": selector("a")}),
        ("-a", {"type": "unaryExpr", "op": "-", "expr": selector("a")}),
        ("a[1h:1m] offset 1m", {
            "type": "subquery", "expr": selector("a"), "range": 3_600_000, "step": 60_000, "offset": 60_000,
            "timestamp": None, "startOrEnd": None,
        }),
        ("topk without (x) (3, a)", {
            "type": "aggregation", "op": "topk", "expr": selector("a"),
            "param": {"type": "numberLiteral", "val": "3"}, "grouping": ["x"], "without": True,
        }),
        ("a + on (x) group_left (y) b", {
            "type": "binaryExpr", "op": "+", "lhs": selector("a"), "rhs": selector("b"), "bool": False,
            "matching": {"card": "many-to-one", "labels": ["x"], "on": True, "include": ["y"],
                         "fillValues": NO_FILL},
        }),
        ("a unless b", {
            "type": "binaryExpr", "op": "unless", "lhs": selector("a"), "rhs": selector("b"), "bool": False,
            "matching": {"card": "many-to-many", "labels": [], "on": False, "include": [],
                         "fillValues": NO_FILL},
        }),
        ("a + fill_right (0.5) b", {
            "type": "binaryExpr", "op": "+", "lhs": selector("a"), "rhs": selector("b"), "bool": False,
            "matching": {"card": "one-to-one", "labels": [], "on": False, "include": [],
                         "fillValues": {"lhs": None, "rhs": 0.5}},
        }),
        ("a > bool 1", {
            "type": "binaryExpr", "op": ">", "lhs": selector("a"),
            "rhs": {"type": "numberLiteral", "val": "1"}, "bool": True, "matching": None,
        }),
    ],
)  # fmt: skip
def test_trees(text: str, expected: dict[str, Any]) -> None:
    assert ast_json(parse(text)) == expected


def test_a_call_tells_the_types_of_its_function() -> None:
    assert ast_json(parse("round(a, 5)")) == {
        "type": "call",
        "func": {"name": "round", "argTypes": ["vector", "scalar"], "variadic": 1, "returnType": "vector"},
        "args": [selector("a"), {"type": "numberLiteral", "val": "5"}],
    }


@pytest.mark.parametrize(
    ("text", "type_"),
    [("1", "scalar"), ("1 + 1", "scalar"), ("1 + a", "vector"), ("-(1)", "scalar"), ("time()", "scalar"),
     ("a[5m:1m]", "matrix"), ("a[5m]", "matrix"), ("sum(a)", "vector"), ('"x"', "string"), ("(a)", "vector")],
)  # fmt: skip
def test_value_types(text: str, type_: str) -> None:
    assert type_of(parse(text)) == type_
