"""All functions without a range vector argument, by name: a new one is a new file in this package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from shim.eval import functions
from shim.eval.functions.signature import CallContext, Function
from shim.model.errors import BadData, Unsupported
from shim.model.values import Value


def _records() -> Iterator[Function]:
    for found in pkgutil.iter_modules(functions.__path__):
        module = importlib.import_module(f"{functions.__name__}.{found.name}")
        yield from getattr(module, "FUNCTIONS", ())  # helpers and this module have none


FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType({one.name: one for one in _records()})


def call(name: str, args: Sequence[Value], context: CallContext) -> Value:
    """Evaluate a function.

    Raises: Unsupported for an unknown name, BadData for a wrong number of arguments.
    """
    function = FUNCTIONS.get(name)
    if function is None:
        raise Unsupported(f"function {name} is not supported")
    if not function.takes(len(args)):
        raise BadData(f"wrong number of arguments in call to {name}: {len(args)}")
    return function.apply(context, args)
