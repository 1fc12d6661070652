"""Folds the excess series of frames before the journal has these (indexer/write/series_limit.py).

Counts the folded rows by org. Sync: runs in threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from indexer.clickhouse.store import StoreError
from indexer.metrics import Metrics
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.inserter import Inserter
from indexer.write.series_limit import SeriesLimit, fold_excess

log = logging.getLogger(__name__)


class LimitedFrames:
    """Keeps frames within their orgs' limits; `limit` None: unlimited. `failed` hears of store errors."""

    def __init__(
        self,
        limit: SeriesLimit | None,
        inserter: Inserter,
        metrics: Metrics,
        failed: Callable[[StoreError], None],
    ) -> None:
        self._limit = limit
        self._inserter = inserter
        self._metrics = metrics
        self._failed = failed

    def folded(self, units: Sequence[AcceptedFrame]) -> Sequence[AcceptedFrame]:
        """Return the frames with the series beyond their org's limit folded.

        Returns them unchanged while the store does not answer: they do not wait for it twice.
        """
        if self._limit is None or not self._limit.near(units):
            return units
        try:
            excess = self._limit.excess(self._inserter.resolve(units))
        except StoreError as e:
            self._failed(e)
            log.debug("event=series_not_counted frames=%d error=%s", len(units), e)
            return units
        out = []
        for unit, beyond in zip(units, excess, strict=True):
            changed, rows = fold_excess(unit, beyond) if beyond.series else (unit, 0)
            out.append(changed)
            if rows:
                self._metrics.limited("folded", unit.frame.org_id, rows)
        return out
