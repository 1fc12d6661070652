"""The leaves of a query over stored lines and samples in memory: a metric is in one of the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shim.engine.evaluator import Leaf, LeafReader
from shim.model import labels as lb
from shim.model.errors import Unsupported
from shim.model.matchers import Matcher
from shim.model.values import Annotations, Samples, Value, Vector
from shim.plan.nodes import Merged, RangeCall, RawRange, SampleTimes, Select
from shim.rules.memory_samples import MemoryLeaves
from shim.rules.overlay_leaves import LeavesOverStore


@dataclass(frozen=True, slots=True)
class MixedLeaves(LeavesOverStore):
    """Reads the metrics of `samples` from memory, and others from the store."""

    memory: MemoryLeaves = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", MemoryLeaves(self.samples, Annotations(), self.store.naming))

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

    def raw(self, node: RawRange) -> Samples:
        """Return the samples of a range vector. Raises QueryError."""
        return self._of(node.window.matchers).raw(node)

    def _of(self, matchers: Sequence[Matcher]) -> LeafReader:
        name = next((m.value for m in matchers if m.name == lb.NAME and m.op == "="), None)
        if name is None:
            raise Unsupported("a selector without a metric name: expected one beside lines of StatsD")
        return self.memory if self.samples.has(name) else self.store
