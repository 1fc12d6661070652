"""`count(x)`, `max(rate(x[w]))`: one value for all series needs no labels, so many series may stay without.

`sum` of what merges is Merged already (merge.py). Which series there are decides at the leaf: few, or such of
several metrics, are read with their labels and aggregated as ever.
"""

from __future__ import annotations

from typing import Final

from shim.plan.nodes import Aggregate, Grouping, Node, RangeCall, Select, Total

#: Aggregations whose value over all series follows from those over parts of them.
OPS: Final = frozenset({"avg", "count", "group", "max", "min", "sum"})


def total(node: Node) -> Node:
    """An aggregation of a whole selector, or of a function of its windows -> Total."""
    if not isinstance(node, Aggregate) or node.op not in OPS or node.grouping != Grouping():
        return node
    if isinstance(node.child, Select | RangeCall):
        return Total(node.grid, node.op, node.child, place=node.place)
    return node
