"""uniq_over_time: the number of distinct members of a set, as sum_over_time of a set gives it too.

Not in Prometheus: a clearer name for users.
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
