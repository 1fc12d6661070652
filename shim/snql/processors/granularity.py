"""The granularity processor and validator: the rollup that a query asks for. Pure."""

from __future__ import annotations

from typing import Final

from shim.model.errors import BadData
from shim.read.window_plan import LEVELS

#: Seconds of the finest rollup, and of the one that is meant where a query names none.
MIN_GRANULARITY_S: Final = 10
DEFAULT_GRANULARITY_S: Final = 60


def granularity(asked_s: int | None) -> int:
    """Return the largest rollup that divides the given seconds. Raises BadData.

    QuerySource: the seeds, GranularityProcessor and GranularityValidator.
    """
    if asked_s is None:
        return DEFAULT_GRANULARITY_S
    found = next((level for level in LEVELS if asked_s > 0 and asked_s % level == 0), None)
    if found is None:
        raise BadData(
            f"granularity = {asked_s}: expected a multiple of {MIN_GRANULARITY_S} seconds,"
            f" {MIN_GRANULARITY_S} or more"
        )
    return found
