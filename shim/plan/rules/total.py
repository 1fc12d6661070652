"""`count(x)`, `topk(5, rate(x[w]))`: what looks at all series at once needs few labels, so many stay without.

`sum` of what merges is Merged already (merge.py). Which series there are decides at the leaf: few, or such of
several metrics, are read with their labels and aggregated as ever.
"""

from __future__ import annotations

from typing import Final

from shim.plan.nodes import Aggregate, Grouping, Node, Number, RangeCall, Select, Text, Total

#: Aggregations whose value over all series follows from those over parts of them.
OPS: Final = frozenset({"avg", "count", "group", "max", "min", "sum"})
#: The same with a parameter that is one constant.
PARAMETRISED: Final = frozenset({"bottomk", "count_values", "quantile", "topk"})


def total(node: Node) -> Node:
    """An aggregation of a whole selector, or of a function of its windows -> Total."""
    if not isinstance(node, Aggregate) or node.grouping != Grouping():
        return node
    child, param = node.child, node.param
    if not isinstance(child, Select | RangeCall):
        return node
    if node.op in OPS and param is None:
        return Total(node.grid, node.op, child, place=node.place)
    if node.op in PARAMETRISED and isinstance(param, Number | Text):
        return Total(node.grid, node.op, child, param, node.place)
    return node
