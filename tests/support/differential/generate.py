"""Random PromQL that has the right types.

Debian's Prometheus 2.42 is closed at both ends of a window, 3.x (our rule) is left-open, so no window may
begin where a sample can be: `phase` is the time an expression is evaluated at, modulo the 10 s that
samples are apart, and every window, lookback and offset is chosen so that the beginning lies between samples.
Steps of queries are multiples of 10 s, so their phase is one number, 3 s. In a subquery, whose times are
multiples of its step, it is 0, and the common multiple of the step and 10 s further on.

Some lines over 400: the kinds of expressions that draw from each other; others are in further.py.
"""

# ruff: noqa: ARG002 (every kind of expression is drawn through one signature, also where depth says nothing)

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.support.differential import data, further, words
from tests.support.differential.expr import Expr, Maybe, Phase

SPACING_MS: Final = 10_000
TOP_PHASE: Final = Phase(3_000, SPACING_MS)
LOOKBACK_MS: Final = 300_000

#: A way to draw an expression: (depth left, phase).
Draw = Callable[[int, Phase], Expr]


@dataclass(slots=True)
class Generator:
    """Draws queries from one random source: the same seed draws the same queries."""

    rng: random.Random
    evaluated_s: int  # a time near those of the queries, for `@`; a multiple of 10

    def query(self, depth: int) -> Expr:
        if self.rng.random() < 0.05:
            return self.scalar(depth, TOP_PHASE)
        return self.vector(depth, TOP_PHASE)

    def vector(self, depth: int, phase: Phase) -> Expr:
        if depth <= 0:
            return self.selector(phase)
        kinds: Sequence[tuple[Draw, int]] = (
            (self._leaf, 2), (self._range_call, 8), (self._aggregation, 8), (self._elementwise, 4),
            (self._jumping, 3), (self._with_scalar, 4), (self._matched, 5), (self._sets, 4),
            (self._label_function, 2), (self._ranked, 3), (self._quantiles, 2), (self._from_scalar, 1),
            (self._absent, 1), (self._negated, 1), (self._dated, 3), (self._timestamp, 1),
            (self._sorted, 1), (self._clamped, 2), (partial(further.native, self), 1),
            (partial(further.computed, self), 2), (partial(further.chain, self), 2),
            (partial(further.on_both_sides, self), 1),
        )  # fmt: skip
        return self._one_of(kinds)(depth - 1, phase)

    def scalar(self, depth: int, phase: Phase) -> Expr:
        kinds: Sequence[tuple[Draw, int]] = (
            (self._number, 6), (self._time, 1), (self._pi, 1),
        )  # fmt: skip
        if depth > 0:
            kinds = (*kinds, (self._scalar_of, 2), (self._scalar_operator, 2), (self._negated_scalar, 1))
        return self._one_of(kinds)(depth - 1, phase)

    def _one_of(self, kinds: Sequence[tuple[Draw, int]]) -> Draw:
        return self.rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0]

    def _pick(self, of: Sequence[str]) -> str:
        return self.rng.choice(of)

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    # ------------------------------------------------------------ selectors

    def selector(self, phase: Phase, metrics: Sequence[str] = words.METRICS) -> Expr:
        name = self._pick(metrics)
        parts, constructs = self._matchers(name)
        moved, named = self._moved(phase, LOOKBACK_MS)
        return Expr("vector", (*parts, *moved), ("selector", *constructs, *named), phase)

    def matrix(self, depth: int, phase: Phase, metrics: Sequence[str] = words.METRICS) -> Expr:
        if depth > 0 and self._chance(0.25):
            return self._subquery(depth - 1, phase)
        window_ms = self.rng.choice(words.WINDOWS_MS)
        parts, constructs = self._matchers(self._pick(metrics))
        moved, named = self._moved(phase, window_ms)
        return Expr(
            "matrix",
            (*parts, f"[{words.duration(window_ms)}]", *moved),
            ("[range]", *constructs, *named),
            phase,
        )

    def _subquery(self, depth: int, phase: Phase) -> Expr:
        range_ms, step = (
            self.rng.choice(words.SUBQUERIES_MS),
            self._pick((*words.STEPS, *words.STEPS, *words.ODD)),
        )
        every_ms = words.ODD.get(step, SPACING_MS)
        inner = self.vector(depth, Phase(0, every_ms))
        moved, named = self._moved(phase, range_ms, every_ms)
        kinds = (("[subquery:default]",) if not step else ()) + (
            ("[subquery:odd]",) if step in words.ODD else ()
        )
        constructs = ("[subquery]", *kinds, *named)
        return Expr(
            "matrix", ("(", inner, f")[{words.duration(range_ms)}:{step}]", *moved), constructs, phase
        )

    def _matchers(self, name: str) -> tuple[tuple[str | Maybe, ...], tuple[str, ...]]:
        known = [m for label in words.LABELS_OF[name] for m in words.MATCHERS[label]]
        found = [
            self._pick([*known, *words.MATCHERS[""]]) for _ in range(self.rng.choice((0, 0, 0, 1, 1, 2)))
        ]
        ops = tuple(
            f"matcher{op}" for m in found for op in ("=~", "!~", "!=", "=") if words.operator(m) == op
        )
        if self._chance(0.05):
            return (f'{{__name__="{name}"', *(Maybe("," + m) for m in found), "}"), ("{__name__=}", *ops)
        if self._chance(0.03):
            return ('{__name__=~"cpu_.*_total"', *(Maybe("," + m) for m in found), "}"), (
                "{__name__=~}",
                *ops,
            )
        if not found:
            return (name,), ()
        return (f"{name}{{", *(Maybe(m + ",") for m in found), "}"), ops

    def _moved(
        self, phase: Phase, window_ms: int, every_ms: int = SPACING_MS
    ) -> tuple[tuple[str | Maybe, ...], tuple[str, ...]]:
        """`@` and `offset`, so that a window of this length begins between samples `every_ms` apart."""

        def bad(at: Phase, offset_ms: int = 0) -> bool:
            return (at.at_ms - offset_ms - window_ms) % math.gcd(at.every_ms, every_ms) == 0

        for _ in range(1_000):
            at, at_phase, named = self._at(phase)
            moves = self._chance(0.2) or phase.at_ms == 0
            offset_ms = self.rng.choice(words.OFFSETS_MS) if moves else 0
            if bad(at_phase, offset_ms):
                continue
            if offset_ms:
                named = (*named, "offset" if offset_ms > 0 else "offset -")
            sign = "-" if offset_ms < 0 else ""
            offset = f" offset {sign}{words.duration(abs(offset_ms))}" if offset_ms else ""
            if bad(at_phase) or bad(phase) or bad(phase, offset_ms):
                return (at + offset,), named
            return tuple(Maybe(text) for text in (at, offset) if text), named
        raise AssertionError(f"no offset goes with {window_ms} at {phase}")

    def _at(self, phase: Phase) -> tuple[str, Phase, tuple[str, ...]]:
        if not self._chance(0.08):
            return "", phase, ()
        kind = self._pick(("start()", "end()", "time"))
        if kind == "time":
            return f" @ {self.evaluated_s - self.rng.randrange(0, 240) * 10 + 3}", TOP_PHASE, ("@",)
        return f" @ {kind}", TOP_PHASE, (f"@ {kind}",)

    # ------------------------------------------------------------ functions

    def _leaf(self, depth: int, phase: Phase) -> Expr:
        return self.selector(phase)

    def call(self, name: str, phase: Phase, *arguments: str | Expr) -> Expr:
        parts: list[str | Expr] = [f"{name}("]
        for i, argument in enumerate(arguments):
            parts += [", ", argument] if i else [argument]
        return Expr("vector", (*parts, ")"), (name,), phase)

    def _range_call(self, depth: int, phase: Phase) -> Expr:
        name = self._pick(
            (*words.OVER_TIME, "quantile_over_time", "predict_linear", "double_exponential_smoothing")
        )
        matrix = self.matrix(depth, phase)
        if name == "quantile_over_time":
            share = self._pick(("0", "0.1", "0.5", "0.9", "1", "2", "-1"))
            return self.call(name, phase, share, matrix)
        if name == "predict_linear":
            return self.call(name, phase, matrix, self.scalar(min(depth, 1), phase))
        if name == "double_exponential_smoothing":
            return self.call(name, phase, matrix, self._pick(("0.1", "0.5")), self._pick(("0.3", "0.9")))
        return self.call(name, phase, matrix)

    def _elementwise(self, depth: int, phase: Phase) -> Expr:
        return self.call(self._pick(words.ELEMENTWISE), phase, self.vector(depth, phase))

    def _jumping(self, depth: int, phase: Phase) -> Expr:
        name, inner = (
            self._pick((*words.JUMPING, "%", "%", "count_values", "count_values")),
            self.exact(depth, phase),
        )
        if name == "%":
            divisor = self.exact(depth, phase) if self._chance(0.3) else self._number(0, phase)
            return Expr("vector", ("(", inner, " % ", divisor, ")"), ("%",), phase)
        if name == "count_values":
            text, word = self._grouping()
            # 2.42 does not sort the new label among those of `by`: ours is last.
            label = "zz_value" if "by" in text else self._pick(("host", "value"))
            parts = (name, text, f'("{label}", ', inner, ")")
            return Expr("vector", parts, (name, *word), phase)
        if name == "round" and self._chance(0.5):
            return self.call(name, phase, inner, self._pick(("0.25", "5", "-2", "0.3")))
        return self.call(name, phase, inner)

    def exact(self, depth: int, phase: Phase) -> Expr:
        """Return a vector without rounding: both servers have the same bits."""
        draw = self.rng.random()
        if depth <= 0 or draw < 0.3:
            return self.selector(phase)
        if draw < 0.55:
            return self.call(self._pick(words.EXACT_OVER_TIME), phase, self.matrix(0, phase))
        if draw < 0.85:
            text, word = self._grouping()
            name, inner = self._pick(words.EXACT_AGGREGATIONS), self.exact(depth - 1, phase)
            return Expr("vector", (name, text, "(", inner, ")"), (name, *word), phase)
        op = self._pick((*words.SETS, *words.COMPARISONS, "+", "-", "*"))
        left, right = self.exact(depth - 1, phase), self.exact(depth - 1, phase)
        return Expr("vector", ("(", left, f" {op} ", right, ")"), (op,), phase)

    def _clamped(self, depth: int, phase: Phase) -> Expr:
        inner, low = self.vector(depth, phase), self.scalar(min(depth, 1), phase)
        name = self._pick(("clamp", "clamp_min", "clamp_max"))
        if name == "clamp":
            return self.call(name, phase, inner, low, self.scalar(min(depth, 1), phase))
        return self.call(name, phase, inner, low)

    def _dated(self, depth: int, phase: Phase) -> Expr:
        name = self._pick(words.DATES)
        if self._chance(0.3):
            return Expr("vector", (f"{name}()",), (name,), phase)
        return self.call(name, phase, self.exact(depth, phase))

    def _timestamp(self, depth: int, phase: Phase) -> Expr:
        return self.call("timestamp", phase, self.vector(depth if self._chance(0.4) else 0, phase))

    def _label_function(self, depth: int, phase: Phase) -> Expr:
        inner = self.vector(depth, phase)
        if self._chance(0.5):
            return self.call("label_replace", phase, inner, self._pick(words.REPLACEMENTS))
        return self.call("label_join", phase, inner, self._pick(words.JOINS))

    def _absent(self, depth: int, phase: Phase) -> Expr:
        if self._chance(0.5):
            return self.call("absent", phase, self.vector(min(depth, 1), phase))
        return self.call("absent_over_time", phase, self.matrix(depth, phase))

    def _quantiles(self, depth: int, phase: Phase) -> Expr:
        inner = self.selector(phase, ("lat_bucket",))
        if self._chance(0.7):
            matrix = self.matrix(0, phase, ("lat_bucket",))
            inner = self.call(self._pick(("rate", "increase", "delta")), phase, matrix)
        if self._chance(0.6):
            grouping = self._pick(("le", "le, route"))
            inner = Expr("vector", (f"sum by ({grouping}) (", inner, ")"), ("sum", "by"), phase)
        share = self._pick(("0", "0.5", "0.9", "0.99", "1", "1.5", "-1"))
        return self.call("histogram_quantile", phase, share, inner)

    def _sorted(self, depth: int, phase: Phase) -> Expr:
        return self.call(self._pick(("sort", "sort_desc")), phase, self.distinct(phase))

    def distinct(self, phase: Phase) -> Expr:
        """Return a vector of hardly ever equal values."""
        draw = self.rng.random()
        if draw < 0.4:
            return self.selector(phase, words.DISTINCT)
        if draw < 0.7:
            name = self._pick(("avg_over_time", "sum_over_time", "max_over_time", "deriv"))
            return self.call(name, phase, self.matrix(0, phase, words.DISTINCT))
        grouping = self._pick(("host", "host, route", "host, team"))
        inner = self.selector(phase, words.DISTINCT)
        return Expr("vector", (f"sum by ({grouping}) (", inner, ")"), ("sum", "by"), phase)

    # ------------------------------------------------------------ aggregations

    def _grouping(self) -> tuple[str, tuple[str, ...]]:
        word = self._pick(("", "by", "by", "without"))
        if not word:
            return "", ()
        labels = self.rng.sample(words.BY, self.rng.choice((0, 1, 1, 2, 2, 3)))
        return f" {word} ({', '.join(labels)}) ", (word,)

    def _aggregation(self, depth: int, phase: Phase) -> Expr:
        name = self._pick((*words.PLAIN_AGGREGATIONS, *words.PLAIN_AGGREGATIONS, "quantile", "quantile"))
        text, word = self._grouping()
        inner = self.vector(depth, phase)
        parameter = {"quantile": self._pick(("0", "0.3", "0.5", "1", "7")) + ", "}.get(name, "")
        grouping = (Maybe(text),) if text else ()
        return Expr("vector", (name, *grouping, f"({parameter}", inner, ")"), (name, *word), phase)

    def _ranked(self, depth: int, phase: Phase) -> Expr:
        name, (text, word) = self._pick(("topk", "bottomk")), self._grouping()
        grouping = (Maybe(text),) if text else ()
        count = self._pick(("0", "1", "2", "3", "100"))
        parts = (name, *grouping, f"({count}, ", self.distinct(phase), ")")
        return Expr("vector", parts, (name, *word), phase)

    # ------------------------------------------------------------ operators

    def _with_scalar(self, depth: int, phase: Phase) -> Expr:
        vector, scalar = self.vector(depth, phase), self.scalar(min(depth, 1), phase)
        sides = [vector, scalar]
        self.rng.shuffle(sides)
        op = self._pick((*words.ARITHMETIC, *words.COMPARISONS))
        named, shown = self._shown(op)
        return Expr("vector", ("(", sides[0], f" {shown} ", sides[1], ")"), (*named, "scalar side"), phase)

    def _shown(self, op: str) -> tuple[tuple[str, ...], str]:
        if op in words.COMPARISONS and self._chance(0.4):
            return (op, "bool"), f"{op} bool"
        return (op,), op

    def _matched(self, depth: int, phase: Phase) -> Expr:
        """Two vectors; mostly with labels that go together, so that not all of it are errors."""
        named, shown = self._shown(self._pick((*words.ARITHMETIC, *words.COMPARISONS)))
        draw = self.rng.random()
        if draw < 0.3:
            left, right, how = self._same_shape(depth, phase)
        elif draw < 0.75:
            left, right, how = self._grouped(depth, phase)
        else:
            left, right = self.vector(depth, phase), self.vector(depth, phase)
            how = self._random_matching()
        said = tuple(w for w in ("on", "ignoring", "group_left", "group_right") if f" {w} " in f" {how}")
        parts = ("(", left, f" {shown} {how}", right, ")")
        return Expr("vector", parts, (*named, *said, "one-to-one" if "group" not in how else "many"), phase)

    def _same_shape(self, depth: int, phase: Phase) -> tuple[Expr, Expr, str]:
        labels = ", ".join(self.rng.sample(words.BY[:3], self.rng.choice((1, 2))))

        def side() -> Expr:
            name = self._pick(words.PLAIN_AGGREGATIONS)
            inner = self.vector(depth - 1, phase)
            return Expr("vector", (f"{name} by ({labels}) (", inner, ")"), (name, "by"), phase)

        return side(), side(), self._pick(("", f"on ({labels}) ", "ignoring (nosuch) "))

    def _grouped(self, depth: int, phase: Phase) -> tuple[Expr, Expr, str]:
        many = self.selector(phase, ("temp", "load", "mem", "cpu_user_total"))
        one = self.selector(phase, ("build",))
        if self._chance(0.5):
            inner = self.vector(depth - 1, phase)
            one = Expr("vector", ("sum by (host) (", inner, ")"), ("sum", "by"), phase)
        include = self._pick(("()", "(version)", "(version, nosuch)", ""))
        on = self._pick(("on (host)", "ignoring (route, zone, version, team, mode)"))
        if self._chance(0.5):
            return many, one, f"{on} group_left {include} "
        return one, many, f"{on} group_right {include} "

    def _random_matching(self) -> str:
        word = self._pick(("", "on", "ignoring"))
        if not word:
            return ""
        labels = ", ".join(self.rng.sample(words.BY, self.rng.choice((0, 1, 2))))
        return f"{word} ({labels}) " + self._pick(("", "", "group_left () ", "group_right () "))

    def _sets(self, depth: int, phase: Phase) -> Expr:
        op, word = self._pick(words.SETS), self._pick(("", "", "on", "ignoring"))
        labels = ", ".join(self.rng.sample(words.BY, self.rng.choice((0, 1, 2))))
        how = f"{word} ({labels}) " if word else ""
        left, right = self.vector(depth, phase), self.vector(depth, phase)
        constructs = (op, *((word,) if word else ()))
        return Expr(
            "vector",
            ("(", left, f" {op} ", *((Maybe(how),) if how else ()), right, ")"),
            constructs,
            phase,
        )

    def _negated(self, depth: int, phase: Phase) -> Expr:
        return Expr("vector", ("-(", self.vector(depth, phase), ")"), ("unary -",), phase)

    def _from_scalar(self, depth: int, phase: Phase) -> Expr:
        return self.call("vector", phase, self.scalar(depth, phase))

    # ------------------------------------------------------------ scalars

    def _number(self, depth: int, phase: Phase) -> Expr:
        return Expr("scalar", (self._pick(words.NUMBERS),), ("number",), phase)

    def _time(self, depth: int, phase: Phase) -> Expr:
        return Expr("scalar", ("time()",), ("time",), phase)

    def _pi(self, depth: int, phase: Phase) -> Expr:
        return Expr("scalar", ("pi()",), ("pi",), phase)

    def _scalar_of(self, depth: int, phase: Phase) -> Expr:
        inner = self.vector(depth, phase)
        if self._chance(0.7):
            inner = Expr("vector", ("sum(", inner, ")"), ("sum",), phase)
        return Expr("scalar", ("scalar(", inner, ")"), ("scalar",), phase)

    def _scalar_operator(self, depth: int, phase: Phase) -> Expr:
        op = self._pick((*words.ARITHMETIC, *words.COMPARISONS))
        shown = f"{op} bool" if op in words.COMPARISONS else op
        left, right = self.scalar(depth, phase), self.scalar(depth, phase)
        return Expr("scalar", ("(", left, f" {shown} ", right, ")"), (op, "scalar operator"), phase)

    def _negated_scalar(self, depth: int, phase: Phase) -> Expr:
        return Expr("scalar", ("-(", self.scalar(depth, phase), ")"), ("unary - of scalar",), phase)


def generator(seed: str) -> Generator:
    return Generator(random.Random(seed), data.END_S - 900)
