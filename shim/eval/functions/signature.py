"""The record of a function: its name, its arguments, its evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from shim.eval.budget import Take, free
from shim.eval.merge import relabelled
from shim.model import labels as lbl
from shim.model.grid import Grid
from shim.model.label_naming import EXACT, LabelNaming
from shim.model.labels import Labels
from shim.model.values import Annotations, Floats, Scalar, String, Value, Vector
from shim.promql.functions import Signature, ValueType


@dataclass(frozen=True, slots=True)
class CallContext:
    """The context of a call, besides its arguments.

    `grid` holds the evaluation times of the query (no offset). `absent_labels` come from the matchers of
    absent's argument. `naming` says which labels a name refers to. `take` is asked for memory and time.
    """

    grid: Grid
    notes: Annotations = field(default_factory=Annotations)
    absent_labels: Labels = lbl.EMPTY
    naming: LabelNaming = EXACT
    take: Take = free


Apply = Callable[[CallContext, Sequence[Value]], Value]


def _none() -> slice:
    return slice(0)


@dataclass(frozen=True, slots=True)
class Function:
    """One function of PromQL.

    `args` are the types of all arguments. With `optional` the last may be missing, or be given up to that
    number of times; UNBOUNDED sets no limit (Prometheus' Variadic). `apply` gets the values in order.
    `observations` is the number of an argument whose stored distributions are read with the extremes of their
    observations (shim/plan/rules/quantiles.py).
    """

    name: str
    args: tuple[ValueType, ...]
    returns: ValueType
    apply: Apply
    optional: int = 0
    experimental: bool = False
    made_labels: slice = field(default_factory=_none)  # arguments that name labels which it makes
    read_labels: slice = field(default_factory=_none)  # arguments that name labels which it reads
    observations: int | None = None

    @property
    def signature(self) -> Signature:
        """The types of its arguments and of its value, for the parser."""
        return Signature(self.args, self.returns, self.optional)

    def takes(self, count: int) -> bool:
        """Return whether it accepts `count` arguments."""
        return self.signature.accepts(count)


def vector_of(value: Value) -> Vector:
    """Return an argument that is a vector."""
    assert isinstance(value, Vector)
    return value


def scalar_of(value: Value) -> Floats:
    """Return an argument that is a scalar, one value per step."""
    assert isinstance(value, Scalar)
    return value.values


def text_of(value: Value) -> str:
    """Return an argument that is a string."""
    assert isinstance(value, String)
    return value.text


def all_labels(vector: Vector) -> list[Labels]:
    """Return the label sets of the floats, then those of the histograms."""
    return [*vector.labels, *vector.histogram_labels]


def target_of(context: CallContext, name: str, vector: Vector) -> Callable[[Labels], str]:
    """Return the function that tells which label of a series a name sets.

    That is an existing label that the name refers to, or else one with exactly this name.
    """
    names = context.naming.answering(name, all_labels(vector))
    if names == (name,):
        return lambda _: name
    last = names[0] if len(names) == 1 else name
    return lambda labels: next((one for one in names if lbl.get(labels, one)), last)


def with_values(vector: Vector, values: Floats) -> Vector:
    """Return the float series with new values and without their names; histograms are dropped."""
    kept = replace(vector, values=values, histogram_labels=(), histograms=(), ordered=False)
    return relabelled(kept, lbl.dropping_name)
