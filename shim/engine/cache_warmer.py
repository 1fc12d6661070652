"""Warms the caches after a start, in the background, before the first queries need them.

Queries from before a restart most likely come again after it. So today's series are looked up first. Then the
look-ups and chunks of cells that `warm_state.py` saved are made again. One statement runs after another, only
while no query runs, for a bounded time; it ends when the process stops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from indexer.clickhouse.store import StoreError
from shim.catalog import Catalog
from shim.catalog.types import SelectionKey
from shim.engine.warm_state import WarmState, load, save
from shim.model.errors import QueryError
from shim.model.tenancy import Tenant
from shim.read.cell_cache.chunk import ChunkKey
from shim.read.cell_cache.setup import CellCache

_log: Final = logging.getLogger("shim.cache_warmer")

#: Seconds between two checks whether queries still run.
_PAUSE_S: Final = 0.02
#: Look-ups that are repeated at most; a dashboard has some dozens.
MAX_SELECTIONS: Final = 128


class CacheWarmer:
    """Looks up series and fills chunks in the background. Thread-safe.

    `path`: the file of the warm state; None for no file. `within_s`: how long the warming may take. `busy`
    says whether queries run now.
    """

    def __init__(
        self,
        catalog: Catalog,
        blocks: CellCache | None,
        path: Path | None,
        within_s: float,
        busy: Callable[[], bool],
    ) -> None:
        self._catalog = catalog
        self._blocks = blocks
        self._path = path if blocks is not None else None
        self._within_s = within_s
        self._busy = busy
        self._stopped = threading.Event()
        self._end_s = 0.0

    def run(self, tenant: Tenant | None) -> None:
        """Warm the caches; `tenant` is the tenant of single mode. The first query reports failures here."""
        if tenant is not None:
            with suppress(StoreError, QueryError):
                self._catalog.warm(tenant, time.time_ns() // 1_000_000)
        if self._path is None:
            return
        recent = load(self._path)
        begun_s = time.monotonic()
        self._end_s = begun_s + self._within_s
        self._look_up(recent.looks[-MAX_SELECTIONS:])
        self._fill(recent.places)
        if recent != WarmState():
            took_s = time.monotonic() - begun_s
            _log.info(
                "event=warmed looks=%d blocks=%d took_s=%.2f", len(recent.looks), len(recent.places), took_s
            )

    def _look_up(self, keys: Sequence[SelectionKey]) -> None:
        for key in reversed(keys):
            if not self._goes_on():
                return
            with suppress(StoreError, QueryError):
                self._catalog.look_again(key)

    def _fill(self, places: Sequence[ChunkKey]) -> None:
        if self._blocks is not None and places:
            self._blocks.filler.restore(places, self._goes_on)

    def _goes_on(self) -> bool:
        """Wait while queries run; return False when the time is up or the process stops."""
        while not self._stopped.is_set() and time.monotonic() < self._end_s:
            if not self._busy():
                return True
            self._stopped.wait(_PAUSE_S)
        return False

    def stop(self) -> None:
        """End the warming soon."""
        self._stopped.set()

    def remember(self) -> None:
        """Save the look-ups and chunks used since the start; without any the file stays as it is.

        Never raises: a file that cannot be written costs the next start a little.
        """
        if self._path is None or self._blocks is None:
            return
        recent = WarmState(
            tuple(self._blocks.cache.asked()), tuple(self._catalog.looked_up()[-MAX_SELECTIONS:])
        )
        if recent == WarmState():
            return
        try:
            save(self._path, recent)
        except OSError as e:
            _log.warning("event=not_remembered error=%s", e)
