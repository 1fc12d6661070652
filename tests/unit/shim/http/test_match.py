"""`match[]`: series selectors, and Prometheus' errors for other text (ParseMetricSelector)."""

from __future__ import annotations

import pytest

from shim.http.params import Params
from shim.http.request import matcher_sets
from shim.model.errors import BadData
from shim.model.matchers import Matcher


def test_every_selector_is_a_set_of_matchers() -> None:
    given = Params({"match[]": ["up", '{job=~"a|b",x!="y",}', '{"http.requests"}']})
    assert matcher_sets(given) == [
        (Matcher("__name__", "=", "up"),),
        (Matcher("job", "=~", "a|b"), Matcher("x", "!=", "y")),
        (Matcher("__name__", "=", "http.requests"),),
    ]
    assert matcher_sets(Params({})) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1", '1:1: parse error: unexpected number "1"'),
        ("up offset 5m", "1:4: parse error: unexpected <offset>"),
        ("up @ 5", "1:4: parse error: unexpected <op:@>"),
        ("up[5m]", '1:3: parse error: unexpected "["'),
        ("sum(up)", '1:4: parse error: unexpected "("'),
        ("(up)", '1:1: parse error: unexpected "("'),
        ("-up", "1:1: parse error: unexpected <op:->"),
        ("up{", "1:4: parse error: unexpected end of input inside braces"),
        ('{a=~"["}', "1:2: parse error: error parsing regexp: missing closing ]: `[`"),
        ("", "1:1: parse error: unexpected end of input"),
        ("{}", "match[] must contain at least one non-empty matcher"),
        ('{a="",b=~".*"}', "match[] must contain at least one non-empty matcher"),
    ],
)
def test_others_are_refused_in_prometheus_words(text: str, reason: str) -> None:
    with pytest.raises(BadData) as raised:
        matcher_sets(Params({"match[]": ["up", text]}))
    assert str(raised.value) == f'invalid parameter "match[]": {reason}'
