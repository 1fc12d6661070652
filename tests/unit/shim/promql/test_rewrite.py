"""PromQL that the parser does not take, in words that it does."""

from __future__ import annotations

from typing import Any

import pytest

from shim.model.errors import BadData
from shim.model.grid import Grid
from shim.plan.build import build
from shim.plan.nodes import Context, Select
from shim.promql.format import format_query
from shim.promql.parse import parse
from shim.promql.rewrite import rewritten


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1_000_000", 1e6),
        ("0x_53_AB", 0x53AB),
        ("0xFF_FF", 0xFFFF),
        (".123_456", 0.123456),
        ("1_0.2_5e1_0", 10.25e10),
    ],
)
def test_underscores_between_digits(text: str, value: float) -> None:
    number: Any = parse(text)
    assert number.val == value


@pytest.mark.parametrize("text", ["1__0", "1_", "_1 + 1_e5", "1_.5", "0x_", "x{a=1_0}"])
def test_underscores_elsewhere_are_refused(text: str) -> None:
    with pytest.raises(BadData, match="parse error"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["x_1 + y_2", 'x{a="1_000"}', "`1_000` # 1_000 @ -1", "rate(x_total[5m] offset 3m)", "a_1_b"]
)
def test_what_is_no_number_stays(text: str) -> None:
    assert rewritten(text) == text


@pytest.mark.parametrize(
    ("at", "ms"),
    [
        ("-1", -1000),
        ("- 1.5", -1500),
        ("-0x10", -16_000),
        ("-1_000", -1_000_000),
        ("-2e9", -2_000_000_000_000),
        ("-0.001", -1),
        ("5", 5000),
        ("+5", 5000),
    ],
)
def test_times_before_1970(at: str, ms: int) -> None:
    plan = build(parse(f"x @ {at}"), Context(Grid.instant(0)))
    assert isinstance(plan, Select)
    assert plan.at == Grid.instant(ms)


@pytest.mark.parametrize("at", ["-Inf", "-1e30", "-NaN", "1e30", "-5m", "-x"])
def test_times_nobody_can_mean(at: str) -> None:
    with pytest.raises(BadData):
        build(parse(f"x @ {at}"), Context(Grid.instant(0)))


@pytest.mark.parametrize(
    "text", ["info(x, {})", "info(x, {a=~`.*`})", "info(sum by (a, b) (x), {a!=`b`,})", "sum(info(x,{a=``}))"]
)
def test_labels_of_info_may_all_be_empty(text: str) -> None:
    build(parse(text), Context(Grid.instant(0)))
    assert "\x01" not in format_query(parse(text))


@pytest.mark.parametrize("text", ["rate(x, {})", "info({}, {a=``})", "x + {a=~`.*`}", "info(x) + {}"])
def test_other_selectors_may_not(text: str) -> None:
    with pytest.raises(BadData, match="parse error"):
        build(parse(text), Context(Grid.instant(0)))


@pytest.mark.parametrize("text", ['{"x", "y"}', '{"x", __name__="x"}', '{__name__="x", __name__="y"}'])
def test_a_name_is_set_once(text: str) -> None:
    with pytest.raises(BadData, match="metric name must not be set twice"):
        build(parse(text), Context(Grid.instant(0)))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('x{or!="a"}', 'x{"or"!="a"}'),
        ('x{a="or",or=~"b",}', 'x{a="or","or"=~"b"}'),
        ("x[+5m]", "x[5m]"),
        ("x[ + 5m : +1m]", "x[5m:1m]"),
        ("a:b + 1", "a:b + (1)"),
    ],
)
def test_what_the_parser_refuses_by_mistake(text: str, same: str) -> None:
    assert format_query(parse(text)) == format_query(parse(same)).replace("(1)", "1")


LONG = "|".join(f"v{i:04}" for i in range(400))


@pytest.mark.parametrize("quote", ['"', "'", "`"])
@pytest.mark.parametrize("op", ["=~", "!~"])
def test_long_regexes_are_not_compiled_by_the_parser(op: str, quote: str) -> None:
    text = f"x{{a{op} {quote}{LONG}{quote},b=~'c'}}"
    assert str(parse(text)).count("\x01~") == 1
    assert format_query(parse(text)) == f'x{{a{op}"{LONG}",b=~"c"}}'


def test_long_regexes_in_strings_and_comments_stay() -> None:
    inside = f'x{{a="=~ \\"{LONG}\\""}} # =~ "{LONG}"'
    assert format_query(parse(inside)) == f'x{{a="=~ \\"{LONG}\\""}}'


def test_a_regex_of_a_mebibyte_is_taken() -> None:
    pattern = "|".join(f"v{i:06}" for i in range(120_000))
    assert len(format_query(parse(f'x{{a=~"{pattern}"}}'))) == len(pattern) + 8


@pytest.mark.parametrize("pattern", ["|" + LONG, "(a|)" + "|b" * 600])
def test_a_long_regex_that_matches_nothing_is_not_enough(pattern: str) -> None:
    with pytest.raises(BadData, match="at least one non-empty matcher"):
        format_query(parse(f'{{a=~"{pattern}"}}'))


def test_a_long_regex_that_is_wrong_is_refused() -> None:
    with pytest.raises(BadData, match=r"^error parsing regexp: missing \): `\(v0000.{,1000}\.\.\.`$"):
        format_query(parse(f'{{a=~"({LONG}"}}'))
