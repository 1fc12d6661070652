"""The places of a query's parts in its text, for annotations: Prometheus ends them in ` (1:25)`. Pure.

A `Place` is the way from the root: the number of the child, and of its child. Source: Prometheus 3.x
`promql/parser/ast.go` (PositionRange), `posrange.StartPosInput`: line and byte from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shim.model.values import ExprPath
from shim.promql.ast import Expr, children


def positions(text: str, tree: Expr) -> Mapping[ExprPath, str]:
    """Return `1:25` for every place in the tree of a text."""
    return {place: line_and_byte(text, start) for place, start in _starts(tree, ())}


def line_and_byte(text: str, at: int) -> str:
    """Return the line and the byte of a character, both from 1."""
    before = text[:at]
    return f"{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2].encode()) + 1}"


def _starts(node: Expr, place: ExprPath) -> Iterator[tuple[ExprPath, int]]:
    yield place, node.start
    for number, child in children(node):
        yield from _starts(child, (*place, number))
