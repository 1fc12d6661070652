"""Notices that the data went back in time, so that no cache claims lost strings or series.

A restore, an emptied table or another database takes rows away that this process, or the shared cache,
believes stored. So once a minute, and when the store is back after a failure, the strings and series written
last are looked up. If one is missing, the database gets a new id (indexer/clickhouse/schema/database_id.py)
and every cache is emptied. Frames carry their strings and series, so the next ones write the missing rows.
Other indexers see the new id within a minute and empty their caches, too. Once a week caches are emptied
anyway, because the table drops strings that were unused for longer than any series lives.

A new process knows no series, and would write all of them again with its first batch, while every agent
waits for that. So it begins with those that a start has read (indexer/clickhouse/schema/series_of_today.py),
if the database still has the id of then.

The check runs in a thread of its own; the rest in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Final

from indexer.clickhouse.schema.database_id import note_id, read_ids
from indexer.clickhouse.schema.series_of_today import StoredSeriesOfDay
from indexer.clickhouse.store import Store, StoreError
from indexer.intern.keys import FetchType
from indexer.intern.series import Project, SeriesRegistry
from indexer.periodic_task import PeriodicTask

if TYPE_CHECKING:
    from indexer.intern.redis_cache import RedisCache

log = logging.getLogger(__name__)

_EVERY_S: Final = 60.0
#: Caches are emptied this often: a used string is then found in the table, or written again.
_RENEW_S: Final = 7 * 86_400.0
#: Strings looked up, of those created and of those read.
_STRINGS: Final = 64
#: How long a replica may take to show rows written to another.
_REPLICA_S: Final = 2.0


class CatalogWatch:
    """Watches the catalog. `forget(database_id)` empties every cache. `redis` is the shared cache, if any."""

    def __init__(
        self,
        store: Store,
        registry: SeriesRegistry,
        redis: RedisCache | None,
        forget: Callable[[str], None],
        on_mistake: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._renewed_s = clock()
        self._store = store
        self._registry = registry
        self._redis = redis
        self._forget = forget
        self._lock = threading.Lock()
        self._checking = threading.Lock()
        self._created: deque[tuple[int, int]] = deque(maxlen=_STRINGS)
        self._read: deque[tuple[int, int]] = deque(maxlen=_STRINGS)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="indexer-watch")
        self._task = PeriodicTask("watch", self._look, on_mistake, first_s=_EVERY_S)
        self.database_id = ""
        self.resets = 0

    def stored(self, how: FetchType, org_id: int, ids: Collection[int]) -> None:
        """Note strings that the store read or created. Called in the writer's thread."""
        some = [(org_id, string_id) for string_id in islice(ids, _STRINGS)]
        with self._lock:
            (self._created if how is FetchType.FIRST_SEEN else self._read).extend(some)
            created = list(self._created)
        if how is FetchType.FIRST_SEEN and self._redis is not None:
            self._redis.note_newest(created)

    async def start(self) -> None:
        """Learn the database's id, check once, and continue checking. Raises StoreError."""
        await self._in_thread(self.check)
        self._task.start()

    def wake(self) -> None:
        """Check soon: the store is back."""
        self._task.wake()

    async def stop(self) -> None:
        """Stop checking without waiting for a running check."""
        await self._task.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def check(self) -> None:
        """Empty the caches if the data went back, or if another indexer noticed that. Raises StoreError."""
        with self._checking:
            self._check()

    def learn(self, found: StoredSeriesOfDay) -> None:
        """Register series that the store had, unless the database has got another id since.

        If rows are deleted later it gets one, and all series are forgotten again.
        """
        with self._checking:
            if found.database_id == self.database_id:
                for org_id, project_id, ids in found.series:
                    self._registry.register(Project(org_id, project_id), found.day, ids, ids[:0])

    def renew(self) -> None:
        """Empty the caches of all indexers: strings or series were deleted. Raises StoreError."""
        with self._checking:
            self._use(note_id(self._store))

    def _check(self) -> None:
        ids = read_ids(self._store)
        known = self.database_id
        if known and known not in ids:
            self._went_back("the id of the database is another")
        elif ids and ids[0] != known:
            self._use(ids[0])
        elif self._clock() - self._renewed_s >= _RENEW_S:  # strings in use stay (id_store.py)
            self._use(known)
        if self._is_missing() and not (self._store.cluster and self._comes_late()):
            self._went_back("strings or series that were written are missing")

    def _went_back(self, why: str) -> None:
        if self.database_id:
            log.warning("event=catalog_went_back text=%s: caches are made new", why)
        self._use(note_id(self._store))
        self.resets += 1

    def _use(self, database_id: str) -> None:
        self.database_id = database_id
        self._renewed_s = self._clock()
        with self._lock:
            self._created.clear()
            self._read.clear()
        self._forget(database_id)

    def _comes_late(self) -> bool:
        """Return whether nothing is missing a moment later: another replica had it."""
        time.sleep(_REPLICA_S)
        return not self._is_missing()

    def _is_missing(self) -> bool:
        return self._strings_missing() or self._series_missing()

    def _strings_missing(self) -> bool:
        noted = self._redis.newest() if self._redis is not None else []
        with self._lock:
            wanted = {*self._created, *self._read, *noted[:_STRINGS]}
        if not wanted:
            return False
        listed = ", ".join(f"({org_id}, {string_id})" for org_id, string_id in sorted(wanted))
        ((found,),) = self._store.rows(
            f"SELECT uniqExact(org_id, id) FROM strings WHERE (org_id, id) IN ({listed})"
        )
        return int(found) < len(wanted)

    def _series_missing(self) -> bool:
        first_day = int(time.time()) // 86_400  # rows of older days may have expired
        wanted = {one for one in self._registry.newest() if one[1] >= first_day}
        if not wanted:
            return False
        listed = ", ".join(f"({t.org_id}, {t.project_id}, {day}, {of})" for t, day, of in wanted)
        days = ", ".join(sorted({str(day) for _, day, _ in wanted}))
        ((found,),) = self._store.rows(
            "SELECT uniqExact(org_id, project_id, day, series_id) FROM series"
            f" WHERE toUInt16(day) IN ({days})"
            f" AND (org_id, project_id, toUInt16(day), series_id) IN ({listed})"
        )
        return int(found) < len(wanted)

    async def _look(self) -> float:
        try:
            await self._in_thread(self.check)
        except StoreError as e:  # the writer reports the error
            log.debug("event=catalog_not_checked error=%s", e)
        return _EVERY_S

    async def _in_thread(self, call: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, call)
