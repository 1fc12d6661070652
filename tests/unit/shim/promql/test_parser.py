"""The bounds in front of the parser, and that every text gives a tree or an error."""

from __future__ import annotations

from contextlib import suppress

import pytest

from shim.model.errors import BadData
from shim.plan.parse import parse
from shim.promql.printer import format_query
from shim.promql.query_size import MAX_DEPTH, MAX_OPERATORS, MAX_QUERY_BYTES


def refused(text: str) -> str:
    with pytest.raises(BadData) as raised:
        parse(text)
    return str(raised.value)


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "# nothing but a comment", "#" * 1_000])
def test_no_expression(text: str) -> None:
    assert refused(text) == "1:1: parse error: no expression found in input"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "rate(x)",
            '1:6: parse error: expected type range vector in call to function "rate", got instant vector',
        ),
        ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("x @ NaN", "1:1: parse error: timestamp out of bounds for @ modifier: NaN"),
        ("x[5m][5m:]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"),
        ('x{a="', "1:5: parse error: unterminated quoted string"),
        ("x(", "1:3: parse error: unclosed left parenthesis"),
    ],
)
def test_errors_are_prometheus_own(text: str, message: str) -> None:
    """Many more are in test_messages.py."""
    assert refused(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "x[300y]", "x[15251w]", "x[5m:106752d]", "x offset 99999999y500ms", "x offset -1e15", "x[1e18]",
        "x[9.3e9]", "sum_over_time(x[5m:10000000000000])", "x[5m] offset 0xffffffffffff", "x[ 2562048h]",
    ],
)  # fmt: skip
def test_durations_beyond_292_years_are_refused(text: str) -> None:
    """Go holds a duration as nanoseconds in 64 bits."""
    assert refused(text).endswith(": parse error: duration out of range")


def test_durations_of_292_years_are_taken() -> None:
    for text in ("x[292y]", "x[15250w]", "x offset -106751d", "x[9.2e9]"):
        parse(text)


@pytest.mark.parametrize("text", ["x @ -1", "x @-0.5", "rate(x[5m] @ # why\n -1e9)", "x[5m:] @ \t-3"])
def test_times_before_1970_are_not_taken_for_1970(text: str) -> None:
    """Their sign is part of them."""
    assert " @ -" in format_query(parse(text))
    parse('x{a="@ -1"} @ 1 - 1')  # no such time in these


def test_depth_is_bounded() -> None:
    for begin, end in ("()", ("abs(", ")"), ("sum by (a) (", ")")):
        deep = MAX_DEPTH - 1 if begin != "()"[0] else MAX_DEPTH
        parse(begin * deep + "x" + end * deep)
        assert refused(begin * (MAX_DEPTH + 1) + "x" + end * (MAX_DEPTH + 1)) == (
            f"parse error: nested deeper than {MAX_DEPTH} levels"
        )


def test_operators_are_bounded() -> None:
    parse("1" + "+1" * MAX_OPERATORS)
    for one in ("1" + "+1" * 301, "-" * 301 + "1", "a" + " and a" * 301, "1" + " == bool 1" * 301):
        assert refused(one) == f"parse error: more than {MAX_OPERATORS} operators"


def test_brackets_and_operators_inside_strings_and_comments_do_not_count() -> None:
    brackets, signs = "(" * 500, "+" * 500
    for quote in "\"'`":
        parse(f"x{{a={quote}{brackets}{signs}{quote}}}")
        parse(f"label_replace(x, {quote}a{quote}, {quote}{signs}{quote}, {quote}b{quote}, {quote}c{quote})")
    parse('x{a="\\"(((\\\\"} # ' + brackets + signs)
    parse('x{a!="1",b=~"c",' + ",".join(f'l{i}!="-"' for i in range(400)) + "}")


def test_length_is_bounded_in_bytes() -> None:
    parse("x" * MAX_QUERY_BYTES)
    too_long = f"parse error: query is longer than {MAX_QUERY_BYTES} bytes (setting shim.max_query_bytes)"
    assert refused("x" * (MAX_QUERY_BYTES + 1)) == too_long
    assert refused('"' + "é" * (MAX_QUERY_BYTES // 2) + '"') == too_long


@pytest.mark.parametrize("text", ["\ud800", 'x{a="\udcff"}', "x\udc80"])
def test_bad_utf8_is_refused(text: str) -> None:
    assert refused(text).startswith("parse error: invalid UTF-8 at character ")


@pytest.mark.parametrize(
    "text", ["\x00", "x\x00", 'x{a="\x00"}', "é", "x{é='1'}", "\u202e", "１+１", "x[5m\x00]"]
)
def test_odd_characters_are_an_answer_or_an_error(text: str) -> None:
    with suppress(BadData):
        parse(text)


@pytest.mark.parametrize(
    "text", ["x[1e30]", "x offset 1e30", "x offset -1e400", "x[5m:1e30]", "x offset Inf"]
)
def test_durations_beyond_all_bounds_are_refused(text: str) -> None:
    assert "duration out of range" in refused(text)


@pytest.mark.parametrize("text", ["x @ 18446744073709551616", "max_over_time(x[5m:] @ 9223372036854775807)"])
def test_times_beyond_64_bits_are_refused(text: str) -> None:
    assert refused(text).startswith("1:1")
    assert ": parse error: timestamp out of bounds for @ modifier: " in refused(text)


def test_times_that_a_float_cannot_hold_are_refused_after_all_else() -> None:
    assert refused("x @ 1e15") == "parse error: timestamp out of bounds for @ modifier"
    assert "expected type range vector" in refused("x @ 1e15 + rate(x)")
