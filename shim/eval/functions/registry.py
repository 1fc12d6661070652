"""All functions that are built, by name. A new one is a new file and a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from shim.eval.functions import (
    absent,
    clamp,
    dates,
    elementwise,
    histogram_fraction,
    histogram_quantile,
    histogram_stats,
    label_join,
    label_replace,
    scalars,
    sorting,
    timestamp,
)
from shim.eval.functions.signature import Context, Function
from shim.model.errors import BadData, Unsupported
from shim.model.values import Value

_MODULES = (
    absent,
    clamp,
    dates,
    elementwise,
    histogram_fraction,
    histogram_quantile,
    histogram_stats,
    label_join,
    label_replace,
    scalars,
    sorting,
    timestamp,
)

FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(
    {function.name: function for module in _MODULES for function in module.FUNCTIONS}
)
"""Functions without a range vector among their arguments; those are in `shim/eval/range/registry.py`."""


def call(name: str, args: Sequence[Value], context: Context) -> Value:
    """The function's value. Raises Unsupported for an unknown name, BadData for a wrong argument count."""
    function = FUNCTIONS.get(name)
    if function is None:
        raise Unsupported(f"function {name} is not supported")
    if not function.takes(len(args)):
        raise BadData(f"wrong number of arguments in call to {name}: {len(args)}")
    return function.apply(context, args)
