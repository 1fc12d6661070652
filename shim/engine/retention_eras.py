"""The retentions that stored rows have, read again while the shim runs: indexers may change theirs.

A change is noted in the database some minutes before rows follow it (indexer/clickhouse/schema/eras.py), so a
shim that reads the note twice a minute knows each change in time. While the store does not answer, the eras
that were read last remain.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.eras import NOTICE_MS, Era
from indexer.clickhouse.store import StoreError

_log = logging.getLogger(__name__)

#: Seconds that eras are valid; far below the notice of a change.
REFRESH_S: Final = NOTICE_MS / 1000 / 4


class RetentionEras:
    """The eras that `read` returns. Thread-safe: one thread reads again while others use the earlier ones.

    Raises StoreError when it is made. `clock` is monotonic.
    """

    def __init__(
        self, read: Callable[[], Sequence[Era]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._clock = clock
        self._reading = threading.Lock()
        self._read_s = clock()
        self._eras = read()

    def present(self) -> Sequence[Era]:
        """Return the eras; may read them."""
        if self._clock() - self._read_s >= REFRESH_S and self._reading.acquire(blocking=False):
            try:
                self._read_s = self._clock()
                self._eras = self._read()
            except StoreError as e:
                _log.debug("event=retention_not_read error=%s", e)
            finally:
                self._reading.release()
        return self._eras

    def retention(self) -> Retention:
        """Return the retention of the latest era, without reading it."""
        return self._eras[-1].retention
