"""The tables of docs/promql.md, out of the registries that the planner asks.

python -m tests.support.promql_table    writes them there
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from shim.eval.aggregate import PARAMETRISED
from shim.eval.functions.registry import FUNCTIONS
from shim.eval.functions.signature import UNBOUNDED, Function
from shim.eval.range.registry import RANGE_FUNCTIONS
from shim.plan import supported
from shim.read import counters, distributions, sets
from tests.support.markdown import ROOT, table, write_between

FILE: Final = ROOT / "docs" / "promql.md"
MARK: Final = "tests.support.promql_table"
DIFFERENCES: Final = Path(__file__).parents[1] / "known_differences.toml"
KINDS: Final = ("counter", "gauge", "distribution", "set")

#: Of samples: what a counter's or a gauge's window is to a function that nothing below names.
_SAMPLES: Final = {"counter": "running total", "gauge": "last values"}
_STORED: Final = frozenset(f"{word}_over_time" for word in ("min", "max", "avg", "sum", "count"))


def range_cell(function: str, kind: str) -> str:
    """What a range function of a type works on; "" where it is refused."""
    if function == "absent_over_time":
        function = "present_over_time"
    if kind == "distribution":
        if function in distributions.HISTOGRAMS:
            return "histogram"
        if function in distributions.OBSERVATIONS:
            return "observations"
        return "running total" if function == "last_over_time" or function in distributions.SAMPLES else ""
    if kind == "set":
        if function in sets.UNIONS:
            return "union"
        return "members" if function in ("last_over_time", "present_over_time") else ""
    if function not in RANGE_FUNCTIONS:
        return ""
    if kind == "counter" and function in counters.EXACT:
        return "exact deltas"
    if kind == "gauge" and function in _STORED:
        return "all values"
    return _SAMPLES[kind]


def range_table() -> str:
    rows = [
        (f"`{name}`", *(range_cell(name, kind) or "-" for kind in KINDS))
        for name in sorted(supported.range_functions())
    ]
    return table(("function of a range", *KINDS), rows)


def function_table() -> str:
    rows = [
        (f"`{name}({_arguments(FUNCTIONS[name])})`", FUNCTIONS[name].returns) for name in sorted(FUNCTIONS)
    ]
    rows += [(f"`{name}()`", "scalar") for name in supported.OF_THE_QUERY]
    rows.append(("`info(vector, [matchers])`", "vector"))
    rows.sort()
    return table(("function", "gives"), rows)


def _arguments(function: Function) -> str:
    args = list(function.args)
    if function.optional == UNBOUNDED:
        return ", ".join([*args[:-1], f"{args[-1]}..."])
    needed = len(args) - function.optional
    return ", ".join([*args[:needed], *(f"[{a}]" for a in args[needed:])])


def aggregation_list() -> str:
    names = sorted(supported.aggregations())
    shown = (
        f"`{n}(parameter, v)`" if n in PARAMETRISED or n == "count_values" else f"`{n}(v)`" for n in names
    )
    return "Aggregations, each with `by` or `without`: " + ", ".join(shown) + "."


def operator_list() -> str:
    shown = ", ".join(f"`{op}`" for op in supported.OPERATORS)
    return (
        "Operators, with `bool`, `on`, `ignoring`, `group_left` and `group_right`, `fill`, `fill_left` and"
        f" `fill_right`: {shown}."
    )


def differences() -> Iterator[Mapping[str, Any]]:
    """The entries of tests/known_differences.toml."""
    yield from tomllib.loads(DIFFERENCES.read_text())["difference"]


def api_differences() -> Iterator[Mapping[str, Any]]:
    """Those of the HTTP API, as the conformance kit's api_check sees them."""
    yield from tomllib.loads(DIFFERENCES.read_text())["api"]


def difference_table() -> str:
    rows = [(f"`{d['query']}`", d["here"], d["why"]) for d in differences()]
    rows += [(f"`{d['request']}`", d["here"], d["why"]) for d in api_differences()]
    return table(("such as", "here", "why"), rows)


def document() -> str:
    parts = [
        "### Functions of range vectors", range_table(),
        "### Other functions", function_table(),
        "### Aggregations and operators", aggregation_list(), operator_list(),
        "### Known differences from Prometheus", difference_table(),
    ]  # fmt: skip
    return "\n\n".join(parts)


if __name__ == "__main__":
    write_between(FILE, MARK, document())
