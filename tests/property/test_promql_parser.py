"""The parser with pieces in any order, and positions of any query."""

from __future__ import annotations

from contextlib import suppress
from itertools import product

from shim.model.errors import BadData
from shim.model.values import ExprPath
from shim.plan.parse import parse
from shim.promql.ast import Expr, children
from shim.promql.positions import positions
from tests.support.differential.generate import generator


def test_pieces_in_any_order_give_a_tree_or_an_error() -> None:
    pieces = [
        "x",
        "(",
        ")",
        "[5m]",
        "[5m:1m]",
        "{a=~'('}",
        "@ 1",
        "offset -1m",
        "-",
        "by (a)",
        "sum",
        "'s'",
        ",",
    ]
    for parts in product(pieces, repeat=4):
        with suppress(BadData):
            parse(" ".join(parts))


def places(tree: Expr, place: ExprPath = ()) -> list[ExprPath]:
    return [place, *(p for i, child in children(tree) for p in places(child, (*place, i)))]


def test_every_part_of_any_query_has_a_position() -> None:
    for seed in range(300):
        text = generator(f"positions/{seed}").query(4).text
        tree = parse(text)
        found = positions(text, tree)
        assert sorted(found) == sorted(places(tree)), text
        assert all(p.startswith("1:") for p in found.values())
