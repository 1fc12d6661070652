"""PromQL over samples in memory, for unit tests of rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

from shim.engine.evaluator import Evaluator
from shim.model.grid import Grid
from shim.model.labels import Labels
from shim.model.values import Annotations, Samples, Scalar, String, Vector
from shim.plan.build import build
from shim.plan.nodes import PlanContext
from shim.plan.parse import parse
from shim.promql.ast import Expr
from shim.rules.memory_samples import MemoryLeaves, MemorySamples
from shim.rules.recorded_histogram import RecordedHistogram, histogram_vector
from shim.rules.rule_queries import InstantVector, instant_vector

T = TypeVar("T")
parsed = lru_cache(maxsize=1024)(parse)


class MemoryEngine:
    """Evaluates expressions at an instant; `subquery_step_ms` is the step of `x[5m:]`."""

    def __init__(self, samples: MemorySamples, subquery_step_ms: int, pool: ThreadPoolExecutor) -> None:
        self.samples = samples
        self._subquery_step_ms = subquery_step_ms
        self._pool = pool

    async def query(self, expr: Expr, text: str, at_ms: int) -> InstantVector:
        """Return a vector without waiting. Raises QueryError."""
        return instant_vector(self._value(expr, text, at_ms))

    async def query_histograms(
        self, expr: Expr, text: str, at_ms: int
    ) -> Sequence[tuple[Labels, RecordedHistogram]]:
        """Return histograms without waiting. Raises QueryError."""
        return histogram_vector(self._value(expr, text, at_ms))

    def seconds_of(self, text: str) -> float | None:  # noqa: ARG002
        """Return None: queries are waited for."""
        return None

    def query_text(self, text: str, at_ms: int) -> InstantVector:
        """Return the vector of an expression in text. Raises QueryError."""
        return instant_vector(self._value(parsed(text), text, at_ms))

    async def apart(self, call: Callable[[], T]) -> T:
        """Call it here."""
        return call()

    def check_time(self) -> None:
        """Grant any time."""

    def _value(self, expr: Expr, text: str, at_ms: int) -> Scalar | String | Vector | Samples:
        """Return the value of an expression; `text` is its text. Raises QueryError."""
        del text
        notes = Annotations()
        plan = build(expr, PlanContext(Grid.instant(at_ms), subquery_step_ms=self._subquery_step_ms))
        return Evaluator(MemoryLeaves(self.samples, notes), notes, self._pool).run(plan)
