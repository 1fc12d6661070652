"""The tables of docs/promql.md, out of the registries that the planner asks.

python -m tests.support.promql_table    writes them there
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from shim.eval.aggregate import AGGREGATIONS
from shim.eval.functions.registry import FUNCTIONS
from shim.eval.functions.signature import Function
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.eval.window.stored import (
    FromDeltas,
    FromObservations,
    FromSamples,
    LatestValue,
    Presence,
    UnionOfMembers,
)
from shim.plan import supported
from tests.support.markdown import ROOT, table, write_between

FILE: Final = ROOT / "docs" / "promql.md"
MARK: Final = "tests.support.promql_table"
DIFFERENCES: Final = Path(__file__).parents[1] / "known_differences.toml"
KINDS: Final = ("counter", "gauge", "distribution", "set")


def range_cell(function: str, kind: str) -> str:
    """Return the data that a range function of a type works on; "" where it is refused."""
    record = RANGE_FUNCTIONS[function]
    if record.absent_of:
        return range_cell(record.absent_of, kind)
    cell = ""
    match kind, record.distribution if kind == "distribution" else record.members:
        case "counter", _ if record.compute is not None:
            cell = "exact deltas" if isinstance(record.counter, FromDeltas) else "running total"
        case "gauge", _ if record.compute is not None:
            cell = "all values" if record.gauge else "last values"
        case "distribution", FromDeltas():
            cell = "histogram"
        case "distribution", FromObservations():
            cell = "observations"
        case "distribution", FromSamples() | LatestValue():
            cell = "running total"
        case "set", UnionOfMembers():
            cell = "union"
        case "set", LatestValue() | Presence():
            cell = "members"
    return cell


def range_table() -> str:
    rows = [
        (f"`{name}`", RANGE_FUNCTIONS[name].doc, *(range_cell(name, kind) or "-" for kind in KINDS))
        for name in sorted(supported.range_functions())
    ]
    return table(("function of a range", "gives", *KINDS), rows)


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
    if function.optional not in (0, 1):  # the last may be repeated
        return ", ".join([*args[:-1], f"{args[-1]}..."])
    needed = len(args) - function.optional
    return ", ".join([*args[:needed], *(f"[{a}]" for a in args[needed:])])


def aggregation_table() -> str:
    names = sorted(supported.aggregations())
    rows = [
        (f"`{n}(parameter, v)`" if AGGREGATIONS[n].parameter else f"`{n}(v)`", AGGREGATIONS[n].doc)
        for n in names
    ]
    return table(("aggregation, with `by` or `without`", "gives, for each group"), rows)


def operator_list() -> str:
    shown = ", ".join(f"`{op}`" for op in supported.OPERATORS)
    return (
        "Operators, with `bool`, `on`, `ignoring`, `group_left` and `group_right`, `fill`, `fill_left` and"
        f" `fill_right`: {shown}."
    )


def differences() -> Iterator[Mapping[str, Any]]:
    """Yield the entries of tests/known_differences.toml."""
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
        "### Aggregations and operators", aggregation_table(), operator_list(),
        "### Known differences from Prometheus", difference_table(),
    ]  # fmt: skip
    return "\n\n".join(parts)


if __name__ == "__main__":
    write_between(FILE, MARK, document())
