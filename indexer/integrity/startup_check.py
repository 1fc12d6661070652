"""The short form of `meterhouse verify`, in the background soon after a start, for at most a second.

Its findings go to the log and a metric. It stops nothing and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.store import Store, StoreError
from indexer.integrity.verifier import Finding, FindingKind, Verifier
from indexer.metrics import Metrics
from indexer.periodic_task import PeriodicTask

log = logging.getLogger(__name__)

#: When it runs after the start: frames and queries that waited for that are served first.
_AFTER_S: Final = 5.0
#: How long it runs; `meterhouse verify` does the rest.
_FOR_S: Final = 1.0
#: Findings that get a line of their own in the log.
_SHOWN: Final = 10
#: ClickHouse's code for a statement that took too long.
_TIMEOUT: Final = 159


class StartupCheck:
    """Runs once after `start`. The latest rows are left out, as frames arrive meanwhile."""

    def __init__(self, store: Store, retention: Retention, metrics: Metrics, for_s: float = _FOR_S) -> None:
        self._store = store
        self._retention = retention
        self._metrics = metrics
        self._for_s = for_s
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="indexer-verify")
        self._task = PeriodicTask("verify", self._look, metrics.mistake, first_s=_AFTER_S)

    def start(self) -> None:
        """Start the check, which begins after some seconds."""
        self._task.start()

    async def _look(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self.look)

    async def stop(self) -> None:
        """Give up a check that has not begun; wait for the end of one that has, as the store closes next."""
        await self._task.stop()
        await asyncio.to_thread(self._threads.shutdown)

    def look(self) -> None:
        """Run the check and report its findings."""
        began_s = time.monotonic()
        found: list[Finding] = []
        whole = True
        try:
            verifier = Verifier(
                self._store,
                self._retention,
                quiet=False,
                short=True,
                deadline_s=began_s + self._for_s,
                pause=lambda _: None,
            )
            found.extend(verifier.all())  # findings before an error stay
        except StoreError as e:
            whole = False
            if e.code != _TIMEOUT:  # the writer reports the error
                log.debug("event=verify_failed error=%s", e)
        counts = Counter(finding.what for finding in found)
        for what in FindingKind:
            self._metrics.verify_findings.labels(what=what.value).set(counts[what])
        for finding in found[:_SHOWN]:
            log.warning("event=verify_found text=%s", finding)
        if found:
            log.warning("event=verify_findings count=%d hint=stop it and run meterhouse verify", len(found))
        took_s = time.monotonic() - began_s
        log.info("event=verified whole=%s findings=%d seconds=%.2f", str(whole).lower(), len(found), took_s)
