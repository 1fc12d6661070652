"""Long ranges that are read at a fine granularity: an answer says so. Pure.

Source: the seeds, which advise less than 90 days for fine granularities.
"""

from __future__ import annotations

from typing import Final

_LONG_S: Final = 90 * 86_400
_FINE_S: Final = 3_600


def is_fine_range(range_s: int, granularity_s: int) -> bool:
    """Return whether the range is long and the granularity fine."""
    return range_s >= _LONG_S and granularity_s < _FINE_S


def fine_range(range_s: int, granularity_s: int) -> str:
    """Return the notice of an answer."""
    days = range_s // 86_400
    return f"{days} days at a granularity of {granularity_s}s: {_FINE_S}s or more reads less"
