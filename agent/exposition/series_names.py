"""Which type a name has: of two types that want one name in the exposition, the first keeps it.

A format has one type for each name, and a distribution also has the names `x_bucket`, `x_count`, `x_sum` and
`x_created`.
Pure.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from agent.protocol.line import Kind

_SUFFIXES: Final = ("", "_bucket", "_count", "_sum", "_created")


class SeriesNames:
    """Counts the series of each name and type; a name is free again without series."""

    def __init__(self) -> None:
        self._series: Counter[tuple[str, Kind]] = Counter()
        self._taken: dict[str, tuple[str, Kind]] = {}

    def is_free(self, name: str, kind: Kind) -> bool:
        """Return whether series of this type may have this name."""
        family = name, kind
        return family in self._series or not any(one in self._taken for one in _names(name, kind))

    def has(self, name: str, kind: Kind) -> bool:
        """Return whether there are series of this name and type."""
        return (name, kind) in self._series

    def add(self, name: str, kind: Kind) -> None:
        """Count a series whose name is free."""
        family = name, kind
        if family not in self._series:
            self._taken.update(dict.fromkeys(_names(name, kind), family))
        self._series[family] += 1

    def remove(self, name: str, kind: Kind) -> None:
        """Count a series less."""
        family = name, kind
        self._series[family] -= 1
        if not self._series[family]:
            del self._series[family]
            for one in _names(name, kind):
                del self._taken[one]


def _names(name: str, kind: Kind) -> tuple[str, ...]:
    return tuple(name + suffix for suffix in _SUFFIXES) if kind is Kind.DISTRIBUTION else (name,)
