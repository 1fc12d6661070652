"""The ticks of a subscription that can be evaluated now. Pure."""

from __future__ import annotations

from typing import NamedTuple

from indexer.subscriptions.messages_of_subscriptions import Subscription


class DueTicks(NamedTuple):
    """The ticks to evaluate, the oldest first, and how many older ones are given up."""

    ticks: range
    skipped: int


def due_ticks(of: Subscription, last_s: int | None, complete_s: int, max_late: int) -> DueTicks:
    """List the multiples of the resolution after `last_s` whose window is complete.

    `last_s`: the last tick with a result. `complete_s`: the end of the last complete bucket. Of ticks that
    are late, the latest `max_late` are listed.
    """
    step_s = of.resolution_s
    first_s = max(of.since_s, last_s or 0) // step_s * step_s + step_s
    end_s = complete_s // step_s * step_s
    earliest_s = end_s - (max_late - 1) * step_s
    skipped = max(0, (earliest_s - first_s) // step_s)
    return DueTicks(range(max(first_s, earliest_s), end_s + 1, step_s), skipped)
