"""The ticks of a schedule that can be evaluated now. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import xxhash


@dataclass(frozen=True, slots=True)
class Schedule:
    """Ticks at `offset_s` plus the multiples of `step_s`, in Unix seconds, after `since_s`."""

    step_s: int
    since_s: int = 0
    offset_s: int = 0

    def last_at(self, time_s: int) -> int:
        """Return the last tick at or before a time, disregarding `since_s`."""
        return time_s - (time_s - self.offset_s) % self.step_s


class DueTicks(NamedTuple):
    """The ticks to evaluate, the oldest first, and how many older ones are given up."""

    ticks: range
    skipped: int


def due_ticks(of: Schedule, last_s: int | None, complete_s: int, max_late: int) -> DueTicks:
    """List the ticks after `last_s` whose data is complete.

    `last_s`: the last tick with a result. `complete_s`: the end of the last complete bucket. Of ticks that
    are late, the latest `max_late` are listed.
    """
    first_s = of.last_at(max(of.since_s, last_s or 0)) + of.step_s
    end_s = of.last_at(complete_s)
    earliest_s = end_s - (max_late - 1) * of.step_s
    skipped = max(0, (earliest_s - first_s) // of.step_s)
    return DueTicks(range(max(first_s, earliest_s), end_s + 1, of.step_s), skipped)


def spread_offset_s(key: str, step_s: int) -> int:
    """Return the offset of a schedule, by the hash of its key: many schedules share the load of a step."""
    return xxhash.xxh64_intdigest(key.encode()) % step_s
