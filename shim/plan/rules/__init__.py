"""Optimisations of a plan: each rule is one pure `Node -> Node` in a file of its own, applied bottom up.

A rule must give the same grid with and without it; tests/property holds that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from shim.plan.nodes import (
    Aggregate,
    Binary,
    Call,
    Info,
    Merged,
    Negate,
    Node,
    RangeCall,
    RawSubquery,
    SubqueryCall,
    Total,
)
from shim.plan.rules.merge import merge_sums
from shim.plan.rules.quantiles import quantiles_of_observations
from shim.plan.rules.total import total

Rule = Callable[[Node], Node]

RULES: Sequence[Rule] = (merge_sums, total, quantiles_of_observations)


def apply(node: Node, rules: Sequence[Rule] = RULES) -> Node:
    """Return the plan after every rule was tried at every node, children first."""
    node = _children(node, rules)
    for rule in rules:
        node = rule(node)
    return node


def _children(node: Node, rules: Sequence[Rule]) -> Node:
    match node:
        case Aggregate():
            param = None if node.param is None else apply(node.param, rules)
            return replace(node, child=apply(node.child, rules), param=param)
        case Binary():
            return replace(node, left=apply(node.left, rules), right=apply(node.right, rules))
        case Negate():
            return replace(node, child=apply(node.child, rules))
        case Call():
            return replace(node, args=tuple(apply(a, rules) for a in node.args))
        case Info():
            return replace(node, base=apply(node.base, rules))
        case RangeCall():
            return replace(node, args=tuple(apply(a, rules) for a in node.args))
        case SubqueryCall():
            inner = None if node.inner is None else apply(node.inner, rules)
            return replace(node, inner=inner, args=tuple(apply(a, rules) for a in node.args))
        case RawSubquery():
            return node if node.inner is None else replace(node, inner=apply(node.inner, rules))
        case Merged() | Total():
            return node
        case _:
            return node
