"""Numbers, times, labels and regular expressions in their less usual forms."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shim.model.errors import BadData
from shim.model.grid import Grid
from shim.plan.build import build
from shim.plan.nodes import PlanContext, Select
from shim.plan.parse import parse
from shim.promql.printer import format_query


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
    ("text", "value"),
    [
        ("010", 8.0), ("08", 8.0), ("0777_0", 4088.0), ("0e1", 0.0), ("01e1", 10.0), ("1e400", float("inf")),
        ("0777777777777777777777777", 7.77777777777777777777777e23), ("0x7fffffffffffffff", 2.0**63),
        ("1h30m", 5_400.0), ("-0x10", -16.0),
    ],
)  # fmt: skip
def test_numbers_as_go_reads_them(text: str, value: float) -> None:
    number: Any = parse(text)
    assert number.val == value


@pytest.mark.parametrize("text", ["0x8000000000000000", "0x"])
def test_hexadecimal_numbers_over_64_bits_are_refused(text: str) -> None:
    reason = f'1:1: parse error: error parsing number: strconv.ParseFloat: parsing "{text}": invalid syntax'
    with pytest.raises(BadData, match=f"^{re.escape(reason)}$"):
        parse(text)


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
        ("-5m", -300_000),
    ],
)
def test_times_before_1970(at: str, ms: int) -> None:
    plan = build(parse(f"x @ {at}"), PlanContext(Grid.instant(0)))
    assert isinstance(plan, Select)
    assert plan.at == Grid.instant(ms)


@pytest.mark.parametrize("at", ["-Inf", "-1e30", "-NaN", "1e30", "-x"])
def test_times_nobody_can_mean(at: str) -> None:
    with pytest.raises(BadData):
        build(parse(f"x @ {at}"), PlanContext(Grid.instant(0)))


@pytest.mark.parametrize(
    "text", ["info(x, {})", "info(x, {a=~`.*`})", "info(sum by (a, b) (x), {a!=`b`,})", "sum(info(x,{a=``}))"]
)
def test_labels_of_info_may_all_be_empty(text: str) -> None:
    build(parse(text), PlanContext(Grid.instant(0)))
    assert parse(format_query(parse(text)))


@pytest.mark.parametrize("text", ["rate(x, {})", "info({}, {a=``})", "x + {a=~`.*`}", "info(x) + {}"])
def test_other_selectors_may_not(text: str) -> None:
    with pytest.raises(BadData, match="parse error"):
        build(parse(text), PlanContext(Grid.instant(0)))


@pytest.mark.parametrize("text", ['{"x", "y"}', '{"x", __name__="x"}', '{__name__="x", __name__="y"}'])
def test_a_name_is_set_once(text: str) -> None:
    with pytest.raises(BadData, match="metric name must not be set twice"):
        build(parse(text), PlanContext(Grid.instant(0)))


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
def test_forms_that_other_parsers_refuse(text: str, same: str) -> None:
    assert format_query(parse(text)) == format_query(parse(same)).replace("(1)", "1")


LONG = "|".join(f"v{i:04}" for i in range(400))


@pytest.mark.parametrize("quote", ['"', "'", "`"])
@pytest.mark.parametrize("op", ["=~", "!~"])
def test_long_regexes(op: str, quote: str) -> None:
    text = f"x{{a{op} {quote}{LONG}{quote},b=~'c'}}"
    assert format_query(parse(text)) == f'x{{a{op}"{LONG}",b=~"c"}}'


def test_long_regexes_in_strings_and_comments_stay() -> None:
    inside = f'x{{a="=~ \\"{LONG}\\""}} # =~ "{LONG}"'
    assert format_query(parse(inside)) == f'x{{a="=~ \\"{LONG}\\""}}'


@pytest.mark.parametrize("pattern", ["|" + LONG, "(a|)" + "|b" * 600])
def test_a_long_regex_that_matches_nothing_is_not_enough(pattern: str) -> None:
    with pytest.raises(BadData, match="at least one non-empty matcher"):
        format_query(parse(f'{{a=~"{pattern}"}}'))


def test_a_long_regex_that_is_wrong_is_refused() -> None:
    with pytest.raises(BadData, match=r"^1:2: parse error: error parsing regexp: missing closing \): `\(v0"):
        format_query(parse(f'{{a=~"({LONG}"}}'))
