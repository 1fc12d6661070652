"""The time that a deletion covers: whole buckets of the finest rows that are still stored. Pure.

A bucket that lies in the range only in part belongs to a coarser rollup. Its row is deleted and derived again
from the finest rows of that day, which are exact. Where finer rows have expired, the range shrinks to whole
buckets of those that are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from indexer.clickhouse.granularities import GRANULARITIES, Granularity
from indexer.deletion.deletion_request import MAX_S, DeletionError

DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Rederived:
    """Buckets `[start, start + seconds)` of a rollup to derive again from the rows of a finer one."""

    finer: Granularity
    coarser: Granularity
    starts_s: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DeletionRange:
    """The time `[start_s, end_s)`; `end_s` = MAX_S: no end. `finest`: the granularity of each end."""

    start_s: int
    end_s: int
    finest: tuple[Granularity, Granularity]
    kept_from_s: Mapping[int, int]

    @property
    def days(self) -> tuple[int, int]:
        """The first and the last day that it touches, since 1970."""
        return self.start_s // DAY_S, min((self.end_s - 1) // DAY_S, 65_535)

    def touched(self, seconds: int) -> tuple[int, int]:
        """Return the range of buckets of a granularity that lie in it, also in part."""
        end_s = self.end_s if self.end_s == MAX_S else _up(self.end_s, seconds)
        return self.start_s // seconds * seconds, min(end_s, MAX_S)

    def whole(self, seconds: int) -> tuple[int, int]:
        """Return the range of buckets of a granularity that lie wholly in it; it may be empty."""
        end_s = self.end_s if self.end_s == MAX_S else self.end_s // seconds * seconds
        return _up(self.start_s, seconds), end_s

    def rederived(self) -> list[Rederived]:
        """Return the buckets that lie in it in part, by granularity."""
        ends = [(self.start_s, self.finest[0])]
        if self.end_s != MAX_S:
            ends.append((self.end_s, self.finest[1]))
        found: dict[tuple[Granularity, Granularity], set[int]] = {}
        for at_s, finer in ends:
            for coarser in GRANULARITIES:
                start_s = at_s // coarser.seconds * coarser.seconds
                if at_s % coarser.seconds and self.kept_from_s[coarser.seconds] <= start_s:
                    found.setdefault((finer, coarser), set()).add(start_s)
        return [Rederived(finer, coarser, tuple(sorted(at))) for (finer, coarser), at in found.items()]


def deletion_range(start_s: int, end_s: int, kept_from_s: Mapping[int, int], *, alone: bool) -> DeletionRange:
    """Return the widest range inside `[start_s, end_s)` whose ends divide no bucket that cannot be derived.

    `kept_from_s`: by granularity, the time from which all its rows are stored. `alone`: no other process
    writes; otherwise rows cannot be derived again, and the range has whole days. Raises DeletionError if
    nothing is left.
    """
    first, last = (_finest(at_s, kept_from_s, alone=alone) for at_s in (start_s, end_s))
    found_start_s = _up(start_s, first.seconds)
    found_end_s = end_s if end_s == MAX_S else end_s // last.seconds * last.seconds
    if found_start_s >= found_end_s:
        seconds = max(first.seconds, last.seconds)
        raise DeletionError(
            f"from {start_s} to {end_s} there is no whole bucket: expected a range that holds"
            f" {seconds} s from a multiple of {seconds} on, as no finer rows can be deleted there"
        )
    return DeletionRange(found_start_s, found_end_s, (first, last), kept_from_s)


def _finest(at_s: int, kept_from_s: Mapping[int, int], *, alone: bool) -> Granularity:
    """Return the finest granularity that has all rows of the day of `at_s`."""
    day_s = at_s // DAY_S * DAY_S
    stored = (g for g in GRANULARITIES if alone and kept_from_s[g.seconds] <= day_s)
    return next(stored, GRANULARITIES[-1])


def _up(at_s: int, seconds: int) -> int:
    return -(-at_s // seconds) * seconds
