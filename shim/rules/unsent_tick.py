"""A tick that was evaluated, and whose results no indexer has taken yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shim.model.labels import Labels
from shim.rules.recorded_messages import TickResults


@dataclass(frozen=True, slots=True)
class UnsentTick:
    """The results of a tick, kept until they are stored: each try has the bytes of the first.

    An indexer that answered 503 may know them by their key, and would refuse others. `series` are all of the
    group at the tick.
    """

    tick_s: int
    results: TickResults
    series: Sequence[set[Labels]]
