"""Which steps of a range query are shown: those that cannot change any more. Pure.

A step is shown when all that was read for it lies in complete buckets (indexer/agents/completeness.py).
Deltas are counted up to the last bucket end before a time; gauges have samples up to the time itself. So a
graph ends where its data is complete, instead of with a point that is another one at the next refresh. An
instant query has one step, which is always answered: as of the end of the last complete bucket.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from shim.eval.histogram.step_slices import at_steps
from shim.model.grid import Grid
from shim.model.values import Scalar, Value, Vector

_BUCKET_MS = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """Times that a selector was read at; `exact`: of samples with times of their own."""

    at: Grid
    exact: bool

    def last_ms(self, asked: Grid, complete_ms: int) -> int | None:
        """Return the last time of `asked` for which this read is complete; None: all are."""
        if self.at.steps == 1 and asked.steps > 1:
            return None  # `@` fixes it: the same for all steps
        complete_ms += 0 if self.exact else _BUCKET_MS - 1
        if self.at.end_ms <= complete_ms:
            return None
        back_ms = max(0, asked.end_ms - self.at.end_ms)
        if self.at == asked.shifted(-back_ms):
            return complete_ms + back_ms
        # A subquery's own times: a step sees none that is not complete while it is before the first of them.
        back_ms = max(0, back_ms - self.at.step_ms + 1)
        step_ms = self.at.step_ms
        over = max(0, (complete_ms - self.at.start_ms) // step_ms + 1)
        return self.at.start_ms + over * step_ms - 1 + back_ms


def steps_shown(asked: Grid, seen: Iterable[Seen], complete_s: int) -> int:
    """Return how many of the first steps of `asked` are shown."""
    found = (one.last_ms(asked, complete_s * 1000) for one in seen)
    last_ms = min((ms for ms in found if ms is not None), default=asked.end_ms)
    if last_ms < asked.start_ms:
        return 0
    return min(asked.steps, (last_ms - asked.start_ms) // asked.step_ms + 1)


def first_steps(value: Scalar | Vector, steps: int) -> Value:
    """Return the value over its first `steps` steps."""
    if isinstance(value, Scalar):
        return Scalar(value.values[:steps])
    histograms = [at_steps(h, slice(steps)) for h in value.histograms]
    values, present = value.values[:, :steps], value.present[:, :steps]
    return replace(value, steps=steps, values=values, present=present, histograms=histograms)
