"""Selectors of the syntax tree as conditions on labels, with the checks of Prometheus' parser. Pure."""

from __future__ import annotations

from typing import Any, Final

import promql_parser as pp

from shim.model import labels as lb
from shim.model.errors import BadData
from shim.model.matchers import Matcher, MatchOp, compile_regex
from shim.promql.rewrite import EXTENDED_LABEL, INFO_LABEL, unmarked

_MATCH_OPS: Final[dict[str, MatchOp]] = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}


def matchers_of(tree: pp.VectorSelector) -> tuple[Matcher, ...]:
    """The selector's conditions, its name among them. Raises BadData on a bad or empty set."""
    out = conditions(tree)
    of_info = any(m.name == INFO_LABEL for m in tree.matchers.matchers)
    if not of_info and all(m.matches("") for m in out):
        raise BadData("parse error: vector selector must contain at least one non-empty matcher")
    names = [m.value for m in out if m.name == lb.NAME and m.op == "="]
    if len(names) > 1:
        raise BadData(f'parse error: metric name must not be set twice: "{names[0]}" or "{names[1]}"')
    return out


def conditions(tree: pp.VectorSelector) -> tuple[Matcher, ...]:
    """The selector's conditions, which may be none. Raises BadData on a bad regex, and on `or`."""
    if tree.matchers.or_matchers:
        raise BadData('parse error: unexpected "or" in label matching')
    out = [Matcher(lb.NAME, "=", tree.name)] if tree.name else []
    for m in tree.matchers.matchers:
        if m.name in (INFO_LABEL, EXTENDED_LABEL):
            continue
        op, value = unmarked(_MATCH_OPS[str(m.op).rsplit(".", 1)[-1]], m.value)
        if op in ("=~", "!~"):
            compile_regex(value)
        out.append(Matcher(m.name, op, value))
    return tuple(out)


def absent_labels(tree: Any) -> lb.Labels:
    """What `absent()` answers with: the labels that equality matchers fix, each named once.

    Source: Prometheus 3.x functions.go, createLabelsForAbsentFunction.
    """
    tree = unwrap(tree)
    if isinstance(tree, pp.MatrixSelector):
        tree = tree.vector_selector
    if not isinstance(tree, pp.VectorSelector):
        return lb.EMPTY
    fixed: dict[str, str] = {}
    seen: set[str] = set()
    for m in matchers_of(tree):
        if m.name == lb.NAME:
            continue
        if m.op == "=" and m.name not in seen:
            fixed[m.name] = m.value
            seen.add(m.name)
        else:
            fixed.pop(m.name, None)
    return lb.make(fixed)


def unwrap(tree: Any) -> Any:
    """The expression without the parentheses around it."""
    while isinstance(tree, pp.ParenExpr):
        tree = tree.expr
    return tree
