"""Sum `sum by (l) (rate(x[w]))` in ClickHouse, which stores mergeable state.

Exact because the sum of increases is the increase of the sums: semantics.md, "Sum is merge". It holds for
`rate`, `increase` and plain selectors of counters and distributions, and for the unions of sets.
"""

from __future__ import annotations

from dataclasses import replace

from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.plan.nodes import Aggregate, Merged, Node, RangeCall, Select


def merge_sums(node: Node) -> Node:
    """Make a `sum` of a selector or a mergeable range function Merged; a sum around that goes into it."""
    if not isinstance(node, Aggregate) or node.op != "sum":
        return node
    child = node.child
    if isinstance(child, Merged):
        return replace(child, outer=(*child.outer, node.grouping))
    if isinstance(child, Select) or (isinstance(child, RangeCall) and RANGE_FUNCTIONS[child.function].merges):
        return Merged(node.grid, node.grouping, child, place=node.place)
    return node
