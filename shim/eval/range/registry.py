"""All functions of range vectors that are built, by name. A new one is a new file and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from shim.eval.range import (
    edges,
    extremes,
    instant_rates,
    quantiles,
    rates,
    regression,
    smoothing,
    spread,
    sums,
    turns,
)
from shim.eval.range.signature import RangeFunction

_MODULES = (
    edges,
    extremes,
    instant_rates,
    quantiles,
    rates,
    regression,
    smoothing,
    spread,
    sums,
    turns,
)

RANGE_FUNCTIONS: Final[Mapping[str, RangeFunction]] = MappingProxyType(
    {function.name: function for module in _MODULES for function in module.FUNCTIONS}
)
"""absent_over_time is not among them: the planner makes it absent(present_over_time(...))."""
