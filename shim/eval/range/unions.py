"""uniq_over_time: the number of distinct members of a set, which sum_over_time of a set gives, too.

Ours, not Prometheus': docs say it where sum_over_time would puzzle.
"""

from __future__ import annotations

from shim.eval.window.function import RangeFunction
from shim.eval.window.stored import UnionOfMembers

FUNCTIONS = (
    RangeFunction(
        "uniq_over_time",
        "The number of distinct members of a set",
        None,
        merges=True,
        members=UnionOfMembers(),
    ),
)
