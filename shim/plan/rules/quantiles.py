"""Read distributions under `histogram_quantile` as observations: with their exact minimum and maximum.

So the quantile is the one that `quantile_over_time` and SnQL give, within 1.1 %
(shim/eval/histogram/quantile.py). Prometheus interpolates within a bucket of 2.2 %. Whole observations have
to be counted, so only histograms that come from the store by sums alone are read so.
"""

from __future__ import annotations

from dataclasses import replace

from shim.eval.functions.registry import FUNCTIONS
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.eval.window.stored import FromDeltas
from shim.plan.nodes import Aggregate, Call, Merged, Node, RangeCall, Select


def quantiles_of_observations(node: Node) -> Node:
    """Mark the selectors whose sums are an argument of a function that asks for observations."""
    if not isinstance(node, Call) or (number := FUNCTIONS[node.function].observations) is None:
        return node
    args = list(node.args)
    args[number] = _observed(args[number])
    return replace(node, args=tuple(args))


def _observed(node: Node) -> Node:
    match node:
        case Select():
            return replace(node, observed=True)
        case RangeCall() if isinstance(RANGE_FUNCTIONS[node.function].distribution, FromDeltas):
            return replace(node, observed=True)
        case Merged():
            child = _observed(node.child)
            assert isinstance(child, Select | RangeCall)
            return replace(node, child=child)
        case Aggregate(op="sum"):
            return replace(node, child=_observed(node.child))
    return node
