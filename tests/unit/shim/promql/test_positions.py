"""Where the parts of a query stand in its text."""

from __future__ import annotations

import pytest

from shim.model.values import Annotations, ExprPath
from shim.plan.parse import parse
from shim.promql.positions import positions


@pytest.mark.parametrize(
    ("text", "place", "position"),
    [
        ("x", (), "1:1"),
        ("rate(x[5m])", (0,), "1:6"),
        ("rate((x[5m]))", (0, 0), "1:7"),
        ("histogram_quantile( -1 , {a=')'} offset 5m @ end())", (1,), "1:26"),
        ("histogram_quantile( -1 , y)", (0,), "1:21"),
        ("quantile by (a) (1.5e3, x)", (0,), "1:18"),
        ("quantile(0x1F, sort(x)) without (a, b,)", (1,), "1:16"),
        ("sum(sort(x))", (1,), "1:5"),
        ("a * on (b, c) group_left (d) bool_metric{x='y'} - abs(z)", (1,), "1:51"),
        ("a == bool (b)", (1, 0), "1:12"),
        ("-a + +b", (1,), "1:6"),
        ("-a ^ +(b)", (0, 1, 0, 0), "1:8"),
        ("max_over_time(rate(x[1m])[5m:1m] @ 17 offset -5m)", (0, 0), "1:15"),
        ("max_over_time((x)[5m:])", (0, 0, 0), "1:16"),
        ("# é (\n sum(\n  y or x)", (1, 1), "3:8"),
        ('label_replace(x, "é", "", "", "") + y', (1,), "1:38"),
        ("topk(1h30m, a1:b) > 1000", (1,), "1:21"),
        ("{`quoted.name`, a!~'b'} or .5 * vector(Inf)", (1,), "1:28"),
        ("x + fill_left(0) y", (1,), "1:18"),
    ],
)
def test_position(text: str, place: ExprPath, position: str) -> None:
    assert positions(text, parse(text))[place] == position


def test_notes_are_about_the_last_place() -> None:
    notes = Annotations()
    notes.info("no place")
    notes.at((1,)).argument(0).warn("a")
    notes.at((0, 1)).warn("a")
    notes.at((7,)).warn("unknown place")
    assert notes.placed
    shown = notes.positioned({(1, 0): "1:9", (0, 1): "1:5"})
    assert shown.warnings == ["a (1:9)", "unknown place"]
    assert shown.infos == ["no place"]
    assert notes.argument(3).place is None
