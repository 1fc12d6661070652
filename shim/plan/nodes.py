"""The plan: the computation of a query on absolute grids. Frozen values; pure.

Building the plan (build.py) resolves `offset`, `@`, step, lookback and subquery alignment; nothing after it
needs those. `grid` has the times of the node's own value. `at` of a selector has the times in the data that
it reads, and one point when `@` fixes it: the value is then repeated over `grid`. `place` is the expression's
place in the query, for annotations: nodes that differ in it alone are equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from shim.eval.binary import NO_FILL, Fill, Matching
from shim.model.grid import Grid
from shim.model.labels import Labels
from shim.model.matchers import Matcher
from shim.model.values import ExprPath


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    grid: Grid
    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    grid: Grid
    text: str


@dataclass(frozen=True, slots=True)
class Select:
    """An instant vector selector. With `smoothed` values are interpolated between samples.

    `observed`: distributions are read with the extremes of their observations (rules/quantiles.py).
    """

    grid: Grid
    matchers: tuple[Matcher, ...]
    at: Grid
    lookback_ms: int
    smoothed: bool = False
    counter_lookback_ms: int = 0  # of counters and distributions; 0: as `lookback_ms`
    observed: bool = False

    @property
    def deltas_ms(self) -> int:
        """The lookback of counters and distributions."""
        return self.counter_lookback_ms or self.lookback_ms

    @property
    def read_at(self) -> Grid:
        """The times that samples are looked back from."""
        return self.at.shifted(self.lookback_ms) if self.smoothed else self.at

    @property
    def back_ms(self) -> int:
        """The length of the lookback for samples."""
        return 2 * self.lookback_ms if self.smoothed else self.lookback_ms


@dataclass(frozen=True, slots=True)
class SampleTimes:
    """`timestamp(selector)`: the times of the samples a selector finds, in seconds.

    `of_info`: the samples are those of info series, which must be floats.
    """

    select: Select
    of_info: bool = False

    @property
    def grid(self) -> Grid:
        """The grid of the selector."""
        return self.select.grid


@dataclass(frozen=True, slots=True)
class Window:
    """A range vector selector: `(t - window_ms, t]` for each t of `ends`.

    With `extended` samples around it count, too (shim/eval/window/extended.py).
    """

    matchers: tuple[Matcher, ...]
    ends: Grid
    window_ms: int
    extended: Literal["", "anchored", "smoothed"] = ""

    def reading(self, lookback_ms: int) -> Window:
        """Return the window of all samples that count, with those around it."""
        if not self.extended:
            return self
        ahead_ms = lookback_ms if self.extended == "smoothed" else 0
        ends = self.ends.shifted(ahead_ms)
        return Window(self.matchers, ends, self.window_ms + lookback_ms + ahead_ms)


@dataclass(frozen=True, slots=True)
class RawRange:
    """A range vector that is itself the answer (`x[5m]` as an instant query)."""

    grid: Grid
    window: Window


@dataclass(frozen=True, slots=True)
class RawSubquery:
    """A subquery that is itself the answer (`x[5m:1m]` at an instant); None when no point lies in it."""

    grid: Grid
    inner: Node | None


@dataclass(frozen=True, slots=True)
class RangeCall:
    """A function of a range vector selector; `observed` as of Select: rates are then not divided by time."""

    grid: Grid
    function: str
    window: Window
    lookback_ms: int
    args: tuple[Node, ...] = ()
    place: ExprPath | None = field(default=None, compare=False, repr=False)
    counter_lookback_ms: int = 0  # of counters and distributions; 0: as `lookback_ms`
    observed: bool = False

    @property
    def deltas_ms(self) -> int:
        """The lookback of counters and distributions."""
        return self.counter_lookback_ms or self.lookback_ms


@dataclass(frozen=True, slots=True)
class SubqueryCall:
    """A function of a subquery: `inner` is evaluated on its own grid; None when no point lies in it."""

    grid: Grid
    function: str
    inner: Node | None
    ends: Grid
    window_ms: int
    args: tuple[Node, ...] = ()
    place: ExprPath | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of instant vectors and scalars. `absent_labels` is for `absent` and its kin alone."""

    grid: Grid
    function: str
    args: tuple[Node, ...]
    absent_labels: Labels = ()
    place: ExprPath | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Info:
    """`info(base, {given})`: the labels of info series, found where the samples of `base` are."""

    grid: Grid
    base: Node
    source: SampleTimes
    given: tuple[Matcher, ...] | None  # None without a second argument


@dataclass(frozen=True, slots=True)
class Grouping:
    """`by (labels)` or `without (labels)`."""

    labels: tuple[str, ...] = ()
    without: bool = False

    def __str__(self) -> str:
        return f"{'without' if self.without else 'by'} ({', '.join(self.labels)})"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregation."""

    grid: Grid
    op: str
    grouping: Grouping
    child: Node
    param: Node | None = None
    place: ExprPath | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Merged:
    """`sum` of a selector or of a mergeable range function, done where the data is (rules/merge.py).

    ClickHouse sums per group, so groups x cells leave it; series whose type does not merge are evaluated one
    by one and summed here. `outer` has the groupings of sums around it, the nearest first: the sum of unions
    of a set is a union, too.
    """

    grid: Grid
    grouping: Grouping
    child: Select | RangeCall
    outer: tuple[Grouping, ...] = ()
    place: ExprPath | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Total:
    """An aggregation without grouping of a leaf, which then may leave labels alone (rules/total.py)."""

    grid: Grid
    op: str
    child: Select | RangeCall
    param: Number | Text | None = None
    place: ExprPath | None = field(default=None, compare=False, repr=False)

    @property
    def grouping(self) -> Grouping:
        """The grouping of all series into one group."""
        return Grouping()


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary operator."""

    grid: Grid
    op: str
    left: Node
    right: Node
    matching: Matching | None = None
    return_bool: bool = False
    fill: Fill = NO_FILL  # values for series without a partner
    place: ExprPath | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Negate:
    """A minus before an expression."""

    grid: Grid
    child: Node


Node = (
    Number
    | Text
    | Select
    | SampleTimes
    | RawRange
    | RawSubquery
    | RangeCall
    | SubqueryCall
    | Call
    | Info
    | Aggregate
    | Merged
    | Total
    | Binary
    | Negate
)


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes right below a node, a parameter first."""
    match node:
        case Call() | RangeCall():
            return node.args
        case SubqueryCall():
            return (*_given(node.inner), *node.args)
        case RawSubquery():
            return _given(node.inner)
        case Aggregate() | Total():
            return (*_given(node.param), node.child)
        case Binary():
            return (node.left, node.right)
        case Negate() | Merged():
            return (node.child,)
        case Info():
            return (node.base, node.source)
        case SampleTimes():
            return (node.select,)
        case Number() | Text() | Select() | RawRange():
            return ()


def _given(node: Node | None) -> tuple[Node, ...]:
    return () if node is None else (node,)


@dataclass(frozen=True, slots=True)
class PlanContext:
    """The times and settings that a plan is built with."""

    grid: Grid
    lookback_ms: int = 300_000
    counter_lookback_ms: int = field(default=0, kw_only=True)  # 0: as `lookback_ms`
    subquery_step_ms: int = 60_000
    start_ms: int = field(default=0)  # of the whole query, for start() and end()
    end_ms: int = field(default=0)
    step_ms: int = field(default=0)  # of the whole query, 0 for an instant
    place: ExprPath = ()  # of the expression that is being built
    experimental: bool = True  # whether Prometheus' experimental functions and modifiers are allowed
