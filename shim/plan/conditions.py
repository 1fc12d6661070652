"""Selectors of the syntax tree, and the labels that `absent()` makes of them. Pure."""

from __future__ import annotations

from shim.model import labels as lb
from shim.promql.ast import Expr, MatrixSelector, ParenExpr, VectorSelector


def absent_labels(tree: Expr) -> lb.Labels:
    """Return the labels that `absent()` answers with: those that equality matchers fix, each named once.

    Source: Prometheus 3.x functions.go, createLabelsForAbsentFunction.
    """
    tree = unwrap(tree)
    if isinstance(tree, MatrixSelector):
        tree = tree.vector_selector
    if not isinstance(tree, VectorSelector):
        return lb.EMPTY
    fixed: dict[str, str] = {}
    seen: set[str] = set()
    for m in tree.matchers:
        if m.name == lb.NAME:
            continue
        if m.op == "=" and m.name not in seen:
            fixed[m.name] = m.value
            seen.add(m.name)
        else:
            fixed.pop(m.name, None)
    return lb.make(fixed)


def unwrap(tree: Expr) -> Expr:
    """Return the expression without the parentheses around it."""
    while isinstance(tree, ParenExpr):
        tree = tree.expr
    return tree
