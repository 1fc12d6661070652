"""A plan as indented text: what `explain` shows and golden tests compare. Pure."""

from __future__ import annotations

from typing import assert_never

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
)


def render(node: Node) -> str:
    """One line a node, children indented by two spaces."""
    return "\n".join(_lines(node, 0))


def _lines(node: Node, depth: int) -> list[str]:
    head, children = _parts(node)
    out = ["  " * depth + head]
    for child in children:
        out += _lines(child, depth + 1)
    return out


def _parts(node: Node) -> tuple[str, tuple[Node, ...]]:
    match node:
        case Number():
            return f"number {node.value:g}", ()
        case Text():
            return f"string {node.text!r}", ()
        case Select():
            how = " smoothed" if node.smoothed else ""
            if node.deltas_ms != node.lookback_ms:
                how = f", of counters {_s(node.deltas_ms)}{how}"
            return (
                f"select {_matchers(node.matchers)} {_grid(node.at)} lookback {_s(node.lookback_ms)}{how}",
                (),
            )
        case SampleTimes():
            return "timestamp", (node.select,)
        case RawRange():
            return f"samples {_window(node.window)}", ()
        case RawSubquery():
            return "samples of subquery", () if node.inner is None else (node.inner,)
        case RangeCall():
            return f"{node.function} {_window(node.window)}", node.args
        case SubqueryCall():
            ends = f"{_grid(node.ends)} window {_s(node.window_ms)}"
            inner = () if node.inner is None else (node.inner,)
            return f"{node.function} subquery {ends}", (*inner, *node.args)
        case Call():
            return f"{node.function}()", node.args
        case Info():
            given = "" if node.given is None else f" {_matchers(node.given)}"
            return f"info{given}", (node.base, node.source)
        case Aggregate():
            param = () if node.param is None else (node.param,)
            return f"{node.op} {node.grouping}", (*param, node.child)
        case Merged():
            return f"merged {' of '.join(f'sum {g}' for g in (*node.outer[::-1], node.grouping))}", (
                node.child,
            )
        case Total():
            return f"total {node.op}", (*(() if node.param is None else (node.param,)), node.child)
        case Binary():
            how = f"{' bool' if node.return_bool else ''}{_matching(node.matching)}{_fill(node.fill)}"
            return f"{node.op}{how}", (node.left, node.right)
        case Negate():
            return "negate", (node.child,)
    assert_never(node)


def _matching(matching: Matching | None) -> str:
    """As in PromQL, and nothing for what is there without saying it."""
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
