"""The label names in a plan: those it asks for, and those it makes. Pure.

Matchers are left out: the look-up of series accepts either form of a name in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shim.eval.functions.registry import FUNCTIONS
from shim.plan.nodes import Aggregate, Binary, Call, Info, Merged, Node, Text, children


def label_names(plan: Node) -> tuple[frozenset[str], frozenset[str]]:
    """Return the label names that a plan asks for, and those that it makes."""
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
    """Yield a plan's nodes, each before its children."""
    yield node
    for child in children(node):
        yield from _nodes(child)
