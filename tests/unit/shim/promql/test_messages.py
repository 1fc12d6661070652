"""Prometheus' own words for texts that are not a query: where 2.42 and 3.x differ, those of 3.x.

Messages of both are compared with the real 2.42 in tests/integration/test_differential.py, on the list in
tests/support/differential/broken.txt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from shim.model.errors import BadData
from shim.plan.parse import parse
from shim.promql.modifiers import DurationContext
from shim.promql.printer import format_query
from tests.support.differential.generate import generator
from tests.support.promql import syntax_error

BROKEN: Final = (
    (Path(__file__).parents[3] / "support" / "differential" / "broken.txt").read_text().splitlines()
)
WANTED: Final = "number, duration, step(), or range()"
WANTED_OR_END: Final = 'number, duration, step(), range(), or "]"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x[", "1:3: parse error: unexpected end of input in duration expression"),
        ("x[5", "1:4: parse error: unclosed left bracket"),
        ("x[m]", "1:3: parse error: unexpected character in duration expression: 'm'"),
        ("x[]", f'1:3: parse error: unexpected "]" in subquery or range selector, expected {WANTED}'),
        ("x[-5m]", "1:3: parse error: duration must be greater than 0"),
        ("x[5m:-1m]", "1:6: parse error: duration must be greater than 0"),
        ("x[5m:0]", "1:6: parse error: duration must be greater than 0"),
        ("x[5m:1m 1m]", '1:9: parse error: unexpected duration "1m" in subquery selector, expected "]"'),
        ("x[5m:,]", f'1:6: parse error: unexpected "," in subquery selector, expected {WANTED_OR_END}'),
        ("x[5 m]", "1:5: parse error: unexpected character: 'm', expected ':'"),
        ("x[:5m]", "1:4: parse error: unexpected colon before duration in duration expression"),
        ("x[1h::]", '1:5: parse error: unexpected "::" in subquery or range, expected ":" or "]"'),
        ("x[400y]", "1:3: parse error: duration out of range"),
        ("x[step()]", "1:3: parse error: experimental duration expression is not enabled"),
        ("x[5m * 2]", "1:3: parse error: experimental duration expression is not enabled"),
        ("x offset (1m + 1m)", "1:10: parse error: experimental duration expression is not enabled"),
        ("rate(x[5m] smoothed)", "1:6: parse error: smoothed modifier is experimental and not enabled"),
        ("x anchored", "1:1: parse error: anchored modifier is experimental and not enabled"),
        ("x offset", f"1:9: parse error: unexpected end of input in offset, expected {WANTED}"),
        ("x offset -", f"1:11: parse error: unexpected end of input in offset, expected {WANTED}"),
        ("x offset foo", f'1:10: parse error: unexpected identifier "foo" in offset, expected {WANTED}'),
        ("@ x", "1:1: parse error: unexpected <op:@>"),
        ("1e", '1:1: parse error: bad number or duration syntax: "1e"'),
        ("1..2", '1:1: parse error: bad number or duration syntax: "1.."'),
        ("1_", '1:1: parse error: bad number or duration syntax: "1_"'),
        ("5m1h", '1:1: parse error: not a valid duration string: "5m1h"'),
        ('x{a=~"["}', "1:3: parse error: error parsing regexp: missing closing ]: `[`"),
        ('x{"a"=~"(("}', "1:4: parse error: error parsing regexp: missing closing ): `((`"),
        ('{a=~"*"}', "1:2: parse error: error parsing regexp: missing argument to repetition operator: `*`"),
        ('x{"y"}', '1:1: parse error: metric name must not be set twice: "x" or "y"'),
        ('{"x","y"}', '1:1: parse error: metric name must not be set twice: "x" or "y"'),
        ('sum by ("") (x)', '1:9: parse error: invalid label name for grouping: ""'),
        ("info(x, y)", "1:9: parse error: expected label selectors only, got vector selector instead"),
        ("info(x, y + z)", "1:9: parse error: expected label selectors only"),
        ("info(x, 1)",
         '1:1: parse error: expected type instant vector in call to function "info", got scalar'),
        ("start(1)", '1:1: parse error: expected 0 argument(s) in call to "start", got 1'),
        ("x and fill(0) y", "1:1: parse error: filling in missing series not allowed for set operators"),
        ("x + fill(0) 1", "1:1: parse error: filling in missing series only allowed between instant vectors"),
        ("x + fill(a) y", '1:10: parse error: unexpected identifier "a"'),
        ("(1)[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
        ('"\\400"', "1:1: parse error: escape sequence is an invalid Unicode code point"),
        ('"\\ud800"', "1:1: parse error: escape sequence is an invalid Unicode code point"),
        ("x ==\n  # why\n  é", "3:3: parse error: unexpected character: 'é'"),
        ('x{a="é"} + {', "1:14: parse error: unexpected end of input inside braces"),
    ],
)  # fmt: skip
def test_words_of_3x(text: str, message: str) -> None:
    assert syntax_error(text) == message


@pytest.mark.parametrize("text", BROKEN)
def test_broken_queries_are_refused_with_their_place(text: str) -> None:
    found = syntax_error(text)
    assert found is not None
    assert ": parse error: " in found


def test_right_queries_are_not_refused() -> None:
    for i in range(600):
        drawn = generator(f"complain/{i}")
        text = drawn.query(drawn.rng.choice((1, 2, 3))).text
        assert syntax_error(text) is None, text


@pytest.mark.parametrize("text", ['+"a"', "+x[5m]", "1 + +x[5m]", "sum(+x[5m:1m])", "x or\n+'s'"])
def test_the_operand_of_a_plus_is_checked(text: str) -> None:
    with pytest.raises(
        BadData, match="unary expression only allowed on expressions of type scalar or instant"
    ):
        parse(text)
    parse("+x + +1")


MINUTE_STEPS: Final = DurationContext(step_ms=60_000, range_ms=600_000)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("x[step()]", "x[1m]"),
        ("x[5m*2]", "x[10m]"),
        ("x[2 + 3 * 2 ^ 2]", "x[14s]"),
        ("x[2 ^ 3 ^ 0]", "x[2s]"),
        ("x[-(5m - 10m)]", "x[5m]"),
        ("x[min(step(), 5m):max_of(1, 2)]", "x[1m:2s]"),
        ("x[range()] offset (1m + 30s)", "x[10m] offset 1m30s"),
        ("x offset -step()", "x offset -1m"),
        ("x offset ((0 * 0))", "x"),
        ('x{a="b"}[5m] smoothed', 'x{a="b"}[5m] smoothed'),
        ('{a="b",} anchored', '{a="b"} anchored'),
        ("x{} smoothed smoothed", "x smoothed"),
        ("x + rate(y[step()] anchored)", "x + rate(y[1m] anchored)"),
        ("x[5m] offset -1m @ +5", "x[5m] @ 5.000 offset -1m"),
        ("smoothed + anchored", "smoothed + anchored"),
        ('Smoothed{a="b"} or anchored{}', 'Smoothed{a="b"} or anchored'),
        ("sum by (a, smoothed) (x) / on (anchored) y", "sum by (a, smoothed) (x) / on (anchored) y"),
    ],
)
def test_experimental_durations_and_modifiers(text: str, same: str) -> None:
    assert format_query(parse(text, MINUTE_STEPS)) == same


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x[1m - 1m]", "1:3: parse error: duration must be greater than 0"),
        ("x[1 / 0]", "1:5: parse error: division by zero"),
        ("x[1 % 0]", "1:5: parse error: modulo by zero"),
        ("x[9 ^ 999]", "1:3: parse error: duration out of range"),
        ("x[1e400 % 2]", "1:3: parse error: duration out of range"),
        ("x[(0 - 1) ^ 0.5]", "1:3: parse error: duration out of range"),
        ("x[1e400 - 1e400]", "1:3: parse error: duration must be greater than 0"),
        ("x offset (1e400 - 1e400)", "1:10: parse error: duration out of range"),
        ("x[1m + ]", f'1:8: parse error: unexpected "]" in subquery or range selector, expected {WANTED}'),
        ("x[step]", f'1:7: parse error: unexpected "]" in subquery or range selector, expected {WANTED}'),
        ("x[min(1m)]", f'1:9: parse error: unexpected ")" in subquery or range selector, expected {WANTED}'),
        ("(x) smoothed", "1:1: parse error: smoothed modifier not implemented"),
        ("x[5m:] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"),
        ("x anchored smoothed", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
    ],
)
def test_errors_in_experimental_durations_and_modifiers(text: str, message: str) -> None:
    with pytest.raises(BadData) as raised:
        parse(text, MINUTE_STEPS)
    assert str(raised.value) == message
