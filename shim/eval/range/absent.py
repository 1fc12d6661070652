"""absent_over_time: 1 where a window holds nothing.

The planner makes it `absent(present_over_time(...))`: the labels are those of the matchers.
"""

from __future__ import annotations

from shim.eval.window.function import RangeFunction

FUNCTIONS = (
    RangeFunction(
        "absent_over_time", "1 where the window holds nothing", None, absent_of="present_over_time"
    ),
)
