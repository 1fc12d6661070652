"""PromQL over samples in memory, for unit tests of rules."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from shim.engine.evaluator import Evaluator
from shim.model.errors import ExecutionError
from shim.model.grid import Grid
from shim.model.labels import Labels
from shim.model.values import Annotations, Scalar, Vector
from shim.plan.build import build
from shim.plan.nodes import PlanContext
from shim.plan.parse import parse
from shim.promql.ast import Expr
from shim.rules.memory_samples import MemoryLeaves, MemorySamples

#: The series of an instant vector with their values.
InstantVector = Sequence[tuple[Labels, float]]
parsed = lru_cache(maxsize=1024)(parse)


class MemoryEngine:
    """Evaluates expressions at an instant; `subquery_step_ms` is the step of `x[5m:]`."""

    def __init__(self, samples: MemorySamples, subquery_step_ms: int, pool: ThreadPoolExecutor) -> None:
        self.samples = samples
        self._subquery_step_ms = subquery_step_ms
        self._pool = pool

    def query(self, expr: Expr, at_ms: int) -> InstantVector:
        """Return a vector; a scalar is a series without labels. Raises QueryError."""
        notes = Annotations()
        plan = build(expr, PlanContext(Grid.instant(at_ms), subquery_step_ms=self._subquery_step_ms))
        value = Evaluator(MemoryLeaves(self.samples, notes), notes, self._pool).run(plan)
        if isinstance(value, Scalar):
            return [((), float(value.values[0]))]
        if not isinstance(value, Vector):
            raise ExecutionError("rule result is not a vector or scalar")
        return [
            (labels, float(row[0]))
            for labels, row, present in zip(value.labels, value.values, value.present, strict=True)
            if present[0]
        ]

    def query_text(self, text: str, at_ms: int) -> InstantVector:
        """Return the vector of an expression in text. Raises QueryError."""
        return self.query(parsed(text), at_ms)
