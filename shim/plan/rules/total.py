"""Leave out labels where all series are one group: `count(x)`, `topk(5, rate(x[w]))`.

A `sum` that merges is Merged already (merge.py). The leaf decides by the series that it finds: few of them,
or series of several metrics, are read with their labels and aggregated as without this rule.
"""

from __future__ import annotations

from shim.eval.aggregate import AGGREGATIONS
from shim.plan.nodes import Aggregate, Grouping, Node, Number, RangeCall, Select, Text, Total


def total(node: Node) -> Node:
    """Make an aggregation of a whole selector, or of a function of its windows, a Total."""
    if not isinstance(node, Aggregate) or node.grouping != Grouping():
        return node
    child, param = node.child, node.param
    if not isinstance(child, Select | RangeCall):
        return node
    if AGGREGATIONS[node.op].chunks is None or not isinstance(param, Number | Text | None):
        return node
    return Total(node.grid, node.op, child, param, node.place)
