"""The strings of ids, remembered: an id never changes its string."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from indexer.intern.string_indexer import StringIndexer
from shim.metrics import ShimMetrics


class Strings:
    """`indexer.intern` with a bounded memory on top. Thread-safe."""

    def __init__(self, indexer: StringIndexer, most: int, metrics: ShimMetrics) -> None:
        self._indexer = indexer
        self._most = most
        self._metrics = metrics
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[int, int], str] = OrderedDict()

    def texts(self, org_id: int, ids: Iterable[int]) -> tuple[dict[int, str], bool]:
        """Return the string of every id, and whether all were found.

        An id without a string (the seeds' messages may carry ids of their own) is shown as its digits, and
        looked up again next time.
        """
        wanted = dict.fromkeys(ids)
        out: dict[int, str] = {}
        with self._lock:
            for i in wanted:
                text = self._known.get((org_id, i))
                if text is not None:
                    out[i] = text
        missing = [i for i in wanted if i not in out]
        if not missing:
            return out, True
        found = self._indexer.bulk_reverse_resolve(org_id, missing)
        self._remember(org_id, found)
        out |= found
        strangers = [i for i in missing if i not in found]
        out |= {i: str(i) for i in strangers}
        return out, not strangers

    def _remember(self, org_id: int, found: Mapping[int, str]) -> None:
        with self._lock:
            for i, text in found.items():
                self._known[(org_id, i)] = text
            over = len(self._known) - self._most
            for _ in range(max(0, over)):
                self._known.popitem(last=False)
        if over > 0:
            self._metrics.catalog_evictions.labels("strings").inc(over)
