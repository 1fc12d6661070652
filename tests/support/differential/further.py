"""More kinds of random expressions: computed parameters, chains without parentheses, labels of groups.

Apart from generate.py, whose generator they draw from, for its length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.differential import words
from tests.support.differential.expr import Expr, Phase

if TYPE_CHECKING:
    from tests.support.differential.generate import Generator

_COUNTS: Final = ("1", "2", "3")
_CHAINED: Final = ("+", "-", "*", "^", "==", "!=", ">", "<", ">=", "<=", "> bool")
_BETWEEN_VECTORS: Final = (
    "and", "or", "unless", "+ on (host)", "== bool ignoring (zone)", "and on (host)",
    "unless ignoring (route)", "or on ()",
)  # fmt: skip
_WITH_PARAMETER: Final = (
    "topk", "bottomk", "quantile", "quantile_over_time", "histogram_quantile", "predict_linear", "round",
    "clamp_min", "clamp_max",
)  # fmt: skip


def computed(made: Generator, depth: int, phase: Phase) -> Expr:
    """Return a function or an aggregation whose parameter is an expression."""
    name = made.rng.choice(_WITH_PARAMETER)
    if name in ("topk", "bottomk"):
        return made.call(name, phase, _count(made, phase), made.distinct(phase))
    if name == "quantile":
        return made.call(name, phase, _share(made, phase), made.vector(depth, phase))
    if name == "quantile_over_time":
        return made.call(name, phase, _share(made, phase), made.matrix(depth, phase))
    if name == "histogram_quantile":
        return made.call(name, phase, _share(made, phase), made.selector(phase, ("lat_bucket",)))
    if name == "predict_linear":
        return made.call(name, phase, made.matrix(depth, phase), _count(made, phase))
    return made.call(name, phase, made.exact(depth, phase), _count(made, phase))


def _count(made: Generator, phase: Phase) -> Expr:
    """Return a small whole number that changes, or is missing, now and then."""
    inner = made.selector(phase, ("load", "mem", "gone", "late", "sparse"))
    halves = ("scalar(count(", inner, ")) / 2")
    parts = halves if made.rng.random() < 0.5 else ("scalar(floor(max(", inner, ")))")
    return Expr("scalar", parts, ("scalar", "parameter"), phase)


def _share(made: Generator, phase: Phase) -> Expr:
    """Return a number about between 0 and 1."""
    inner = made.selector(phase, ("load", "gone", "late"))
    return Expr("scalar", ("scalar(max(", inner, ")) / 4"), ("scalar", "parameter"), phase)


def chain(made: Generator, depth: int, phase: Phase) -> Expr:
    """Operators without parentheses: which goes first is said by the grammar alone."""
    parts: list[str | Expr] = []
    number = True  # never two beside each other, nor one beside functions that take vectors alone
    for i in range(made.rng.choice((2, 3, 3, 4, 5))):
        before, number = number, not number and made.rng.random() < 0.4
        if i:
            mixed = number or before
            parts.append(f" {made.rng.choice(_CHAINED if mixed else (*_CHAINED, *_BETWEEN_VECTORS))} ")
        if made.rng.random() < 0.2:
            parts.append("-")
        if number:
            parts.append(made.rng.choice(_COUNTS))
        elif made.rng.random() < 0.8 or depth <= 0:
            parts.append(made.selector(phase, ("temp", "load", "mem", "build")))
        else:
            inner = made.exact(depth, phase)
            parts.append(Expr("vector", ("max by (host) (", inner, ")"), ("max", "by"), phase))
    return Expr("vector", ("(", *parts, ")"), ("chain",), phase)


def on_both_sides(made: Generator, depth: int, phase: Phase) -> Expr:
    """`group_left` that takes labels the many side has, too, and those of a third vector."""
    many = made.selector(phase, ("temp", "load"))
    one = made.selector(phase, ("build", "mem"))
    include = made.rng.choice(("version", "version, team", "route", "zone, nosuch", "__name__"))
    op = made.rng.choice((*words.ARITHMETIC, *words.COMPARISONS, "> bool"))
    on = made.rng.choice(("on (host)", "ignoring (route, zone, version, team)"))
    if made.rng.random() < 0.5:
        parts = ("(", many, f" {op} {on} group_left ({include}) ", one, ")")
    else:
        parts = ("(", one, f" {op} {on} group_right ({include}) ", many, ")")
    return Expr("vector", parts, ("many", "include"), phase)


def native(made: Generator, depth: int, phase: Phase) -> Expr:
    """Functions of native histograms: of floats they give nothing."""
    name = made.rng.choice(("histogram_count", "histogram_sum", "histogram_fraction"))
    if name == "histogram_fraction":
        return made.call(name, phase, "0", "0.5", made.selector(phase, ("temp", "lat_sum")))
    return made.call(name, phase, made.vector(depth, phase))
