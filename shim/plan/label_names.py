"""The label names that a plan names: those it asks for, and those it makes. Pure.

Matchers are left out: they are met where series are looked up, by either form of a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

from shim.eval.functions.registry import FUNCTIONS
from shim.plan.nodes import (
    Aggregate,
    Binary,
    Call,
    Info,
    Merged,
    Negate,
    Node,
    Number,
    RangeCall,
    RawRange,
    RawSubquery,
    SampleTimes,
    Select,
    SubqueryCall,
    Text,
    Total,
)


def label_names(plan: Node) -> tuple[frozenset[str], frozenset[str]]:
    """The names a plan asks for, and those it makes."""
    asked: set[str] = set()
    made: set[str] = set()
    for node in _nodes(plan):
        match node:
            case Aggregate():
                asked.update(node.grouping.labels)
                made.update(_texts((node.param,)))  # of count_values
            case Merged():
                asked.update(*(grouping.labels for grouping in (node.grouping, *node.outer)))
            case Binary() if node.matching is not None:
                asked.update(node.matching.labels, node.matching.include)
            case Call():
                function = FUNCTIONS[node.function]
                made.update(_texts(node.args[function.made_labels]))
                asked.update(_texts(node.args[function.read_labels]))
            case Info():
                asked.update(m.name for m in node.given or ())
    return frozenset(asked), frozenset(made)


def _texts(nodes: Iterable[Node | None]) -> Iterator[str]:
    return (node.text for node in nodes if isinstance(node, Text))


def _nodes(node: Node) -> Iterator[Node]:
    """The plan's nodes, each before its children."""
    yield node
    for child in _children(node):
        yield from _nodes(child)


def _children(node: Node) -> Iterable[Node]:
    match node:
        case Call() | RangeCall():
            return node.args
        case SubqueryCall():
            return (*((node.inner,) if node.inner else ()), *node.args)
        case RawSubquery():
            return (node.inner,) if node.inner else ()
        case Aggregate() | Total():
            return (node.child, *((node.param,) if node.param else ()))
        case Binary():
            return (node.left, node.right)
        case Negate():
            return (node.child,)
        case Info():
            return (node.base,)
        case Merged():
            return (node.child,)
        case Number() | Text() | Select() | SampleTimes() | RawRange():
            return ()
    assert_never(node)
