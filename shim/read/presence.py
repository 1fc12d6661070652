"""Which steps a counter or distribution is present at: its lookback is long, and most series need none of it.

A series is present at `t` iff it has a bucket in `[t - max(w, lookback), t)`. To read an hour for every
window of five minutes would multiply the rows. So a reading covers the windows alone. Only for keys that have
no bucket in one of them the lookback is read, in a second statement. Where rows are few, one does both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shim.catalog.types import Part
from shim.model.grid import Grid
from shim.model.values import Bools, Ints
from shim.read.cell_cache.lookup import read_cells
from shim.read.raw_rows import is_small
from shim.read.reader import Keys, Reader
from shim.read.window_plan import WindowPlan, plan_windows

#: Lookback that a reading of running totals has anyway: they have no window.
_TOTALS_MS: Final = 300_000
#: Series that are picked out of a part, at most; of more the whole part is read.
_MOST_PICKED: Final = 1_000


@dataclass(frozen=True, slots=True)
class Lookback:
    """How far a query looks back for buckets, and at which steps: `window_ms` None for running totals."""

    ends: Grid
    window_ms: int | None
    lookback_ms: int

    def reading(self, reader: Reader, part: Part, keys: Keys) -> tuple[WindowPlan, bool]:
        """Return the plan for the values, and whether it also decides presence for all keys."""
        full = plan_windows(self.ends, self.window_ms, self.lookback_ms, reader.limits)
        short_ms = min(self.lookback_ms, _TOTALS_MS if self.window_ms is None else self.window_ms)
        little = is_small(reader, part, full) or self._is_little(reader, part, full)
        if short_ms == self.lookback_ms or (little and not keys.everything):
            return reader.windows(self.ends, self.window_ms, self.lookback_ms), True
        return reader.windows(self.ends, self.window_ms, short_ms), False

    def _is_little(self, reader: Reader, part: Part, full: WindowPlan) -> bool:
        """Return whether the whole lookback of a few running totals is few rows of the 60 s rollup."""
        rows = self.lookback_ms // 60_000 + 12
        few = full.run is None and full.width == 0
        return few and len(part.series_ids) * rows * self.ends.steps <= reader.few_rows

    def found(self, reader: Reader, table: str, column: str, part: Part, keys: Keys, present: Bools) -> Bools:
        """Return `present`, (keys, steps), with the steps that only the lookback shows. Raises QueryError."""
        quiet = np.flatnonzero(~present.all(axis=1))
        if not len(quiet):
            return present
        some, of_them, quiet = _picked(part, keys, quiet)
        # The same windows, longer and in whole buckets: their sums are not looked at.
        reach_ms = -(-max(self.window_ms or 0, self.lookback_ms) // 10_000) * 10_000
        reading = reader.windows(self.ends, reach_ms, 10_000)
        cells = read_cells(reader, table, some, of_them, reading, column)
        out = present.copy()
        out[quiet] |= reading.present(cells.rows, cells.alive)
        return out


def _picked(part: Part, keys: Keys, quiet: Ints) -> tuple[Part, Keys, Ints]:
    """Return the series of some keys, and those keys; all of them if that is not much more."""
    every = part, keys, np.arange(len(keys))
    if keys.everything:
        return every
    if keys.group is None:
        series, group = quiet, None
    else:
        series = np.flatnonzero(np.isin(keys.group, quiet))
        group = np.searchsorted(quiet, keys.group[series])
    if len(series) > min(_MOST_PICKED, len(part.series_ids) // 4):
        return every
    some = replace(
        part,
        series_ids=part.series_ids[series],
        project_ids=part.project_ids[series],
        labels=((),) * len(series),  # the keys have their own
        whole=False,
        group=None,
        span=None,
    )
    return some, Keys([keys.labels[k] for k in quiet.tolist()], group), quiet
