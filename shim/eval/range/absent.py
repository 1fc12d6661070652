"""absent_over_time: 1 where a window has no samples.

The planner turns it into `absent(present_over_time(...))`, with the labels of the matchers.
"""

from __future__ import annotations

from shim.eval.window.function import RangeFunction

FUNCTIONS = (
    RangeFunction(
        "absent_over_time", "1 where the window holds nothing", None, absent_of="present_over_time"
    ),
)
