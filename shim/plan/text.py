"""A plan as indented text, for `explain` and for golden tests. Pure."""

from __future__ import annotations

from shim.eval.binary import Fill, Matching
from shim.model.grid import Grid
from shim.model.matchers import Matcher
from shim.plan.nodes import (
    Aggregate,
    Binary,
    Call,
    Info,
    Merged,
    Negate,
    Node,
    Number,
    RangeCall,
    RawRange,
    RawSubquery,
    SampleTimes,
    Select,
    SubqueryCall,
    Text,
    Total,
    Window,
    children,
)


def render(node: Node) -> str:
    """Return a plan as text: one line for each node, children indented by two spaces."""
    return "\n".join(_lines(node, 0))


def _lines(node: Node, depth: int) -> list[str]:
    out = ["  " * depth + _head(node)]
    for child in children(node):
        out += _lines(child, depth + 1)
    return out


def _head(node: Node) -> str:
    """Return the text of a node without its children."""
    match node:
        case Number():
            return f"number {node.value:g}"
        case Text():
            return f"string {node.text!r}"
        case Select():
            return _select(node)
        case SampleTimes():
            return "timestamp"
        case RawRange():
            return f"samples {_window(node.window)}"
        case RawSubquery():
            return "samples of subquery"
        case Negate():
            return "negate"
        case _:
            return _computed(node)


def _computed(
    node: RangeCall | SubqueryCall | Call | Info | Aggregate | Merged | Total | Binary,
) -> str:
    """Return the text of a call or an operator without its children."""
    match node:
        case RangeCall():
            how = ", observed" if node.observed else ""
            return f"{node.function} {_window(node.window)}{how}"
        case SubqueryCall():
            return f"{node.function} subquery {_grid(node.ends)} window {_s(node.window_ms)}"
        case Call():
            return f"{node.function}()"
        case Info():
            return "info" if node.given is None else f"info {_matchers(node.given)}"
        case Aggregate():
            return f"{node.op} {node.grouping}"
        case Merged():
            return f"merged {' of '.join(f'sum {g}' for g in (*node.outer[::-1], node.grouping))}"
        case Total():
            return f"total {node.op}"
        case Binary():
            how = " bool" if node.return_bool else ""
            return f"{node.op}{how}{_matching(node.matching)}{_fill(node.fill)}"


def _select(node: Select) -> str:
    how = " smoothed" if node.smoothed else ""
    if node.deltas_ms != node.lookback_ms:
        how = f", of counters {_s(node.deltas_ms)}{how}"
    how += ", observed" if node.observed else ""
    return f"select {_matchers(node.matchers)} {_grid(node.at)} lookback {_s(node.lookback_ms)}{how}"


def _matching(matching: Matching | None) -> str:
    """Return the matching as in PromQL, without its defaults."""
    if matching is None:
        return ""
    out = ""
    if matching.on or matching.labels:
        out += f" {'on' if matching.on else 'ignoring'} ({', '.join(matching.labels)})"
    if matching.card in ("many-to-one", "one-to-many"):
        side = "left" if matching.card == "many-to-one" else "right"
        out += f" group_{side} ({', '.join(matching.include)})"
    return out


def _fill(fill: Fill) -> str:
    values = (("left", fill.left), ("right", fill.right))
    return "".join(f" fill_{side} ({value:g})" for side, value in values if value is not None)


def _matchers(matchers: tuple[Matcher, ...]) -> str:
    return "{" + ",".join(str(m) for m in matchers) + "}"


def _window(window: Window) -> str:
    how = f" {window.extended}" if window.extended else ""
    return f"{_matchers(window.matchers)} {_grid(window.ends)} window {_s(window.window_ms)}{how}"


def _grid(grid: Grid) -> str:
    if grid.steps == 1:
        return f"@{_s(grid.start_ms)}"
    return f"@{_s(grid.start_ms)}..{_s(grid.end_ms)}/{_s(grid.step_ms)}"


def _s(ms: int) -> str:
    return f"{ms // 1000}s" if ms % 1000 == 0 else f"{ms}ms"
