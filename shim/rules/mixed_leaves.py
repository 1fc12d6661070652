"""The leaves of a query over stored lines and samples in memory: a metric is in one of the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shim.engine.evaluator import Leaf, LeafReader, QueryLimits
from shim.model import labels as lb
from shim.model.errors import Unsupported
from shim.model.label_naming import LabelNaming
from shim.model.matchers import Matcher
from shim.model.values import Annotations, Samples, Value, Vector
from shim.plan.nodes import Merged, RangeCall, RawRange, SampleTimes, Select, Total
from shim.rules.memory_samples import MemoryLeaves, MemorySamples


@dataclass(frozen=True, slots=True)
class MixedLeaves:
    """Reads the metrics of `samples` from memory, and others from the store."""

    store: LeafReader
    samples: MemorySamples
    memory: MemoryLeaves = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", MemoryLeaves(self.samples, Annotations(), self.store.naming))

    @property
    def naming(self) -> LabelNaming:
        """The names of labels in this query."""
        return self.store.naming

    @property
    def reader(self) -> QueryLimits:
        """The limits of this query."""
        return self.store.reader

    def read(self, leaf: Leaf, args: Sequence[Value]) -> Vector:
        """Return the leaf's value. Raises QueryError."""
        match leaf:
            case Select(matchers=matchers):
                of = matchers
            case SampleTimes(select):
                of = select.matchers
            case RangeCall():
                of = leaf.window.matchers
            case Merged():
                return self.store.read(leaf, args)
        return self._of(of).read(leaf, args)

    def total(self, node: Total, args: Sequence[Value]) -> Vector | None:
        """Return None: labels have to be read."""
        del node, args
        return None

    def raw(self, node: RawRange) -> Samples:
        """Return the samples of a range vector. Raises QueryError."""
        return self._of(node.window.matchers).raw(node)

    def check_histograms(self, samples: Samples, steps: int) -> None:
        """Refuse histograms that need too much memory. Raises QueryError."""
        self.store.check_histograms(samples, steps)

    def _of(self, matchers: Sequence[Matcher]) -> LeafReader:
        name = next((m.value for m in matchers if m.name == lb.NAME and m.op == "="), None)
        if name is None:
            raise Unsupported("a selector without a metric name: expected one beside lines of StatsD")
        return self.memory if self.samples.has(name) else self.store
