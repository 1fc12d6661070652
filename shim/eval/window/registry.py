"""All functions of range vectors by name: a new one is a new file in `shim/eval/range/`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from shim.eval import range as functions
from shim.eval.window.extended import Mode
from shim.eval.window.function import RangeFunction


def _records() -> Iterator[RangeFunction]:
    for module in pkgutil.iter_modules(functions.__path__):
        yield from importlib.import_module(f"{functions.__name__}.{module.name}").FUNCTIONS


RANGE_FUNCTIONS: Final[Mapping[str, RangeFunction]] = MappingProxyType({f.name: f for f in _records()})


def extended_functions(mode: Mode) -> tuple[str, ...]:
    """Return the functions that `anchored` or `smoothed` may be used with, in order."""
    found = (f.name for f in RANGE_FUNCTIONS.values() if f.extended and mode in f.extended.modes)
    return tuple(sorted(found))
