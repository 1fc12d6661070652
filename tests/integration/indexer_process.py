"""An indexer in a process of its own that dies at a given place.

python -m tests.integration.indexer_process DSN BATCHING KILL    prints its address when it listens

KILL is where it ends itself with SIGKILL, in the first batch: `before` the first INSERT of samples, after the
INSERT of one kind (`counters`, `gauges`, ...), `after` the last one, or `never`. The journal is told nothing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from indexer.clickhouse.retention import Retention
from indexer.run import run
from indexer.service import IndexerService
from indexer.settings import Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.inserter import Inserter


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(kill: str) -> None:
    """Put the death into the real Inserter."""
    real = Inserter.insert

    def insert(self: Inserter, token: str, units: Sequence[AcceptedFrame], **options: Any) -> int:
        if kill == "before":
            die()
        self.on_insert = lambda table, _: die() if table == f"incoming_{kill}" else None
        rows = real(self, token, units, **options)
        if kill == "after":
            die()
        return rows

    Inserter.insert = insert  # type: ignore[method-assign]  # the point of this launcher


def listening(service: IndexerService) -> None:
    print(service.address, flush=True)


if __name__ == "__main__":
    dsn, batching, kill = sys.argv[1:]
    if kill != "never":
        arm(kill)
    ten_years = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
    tree = {"dsn": dsn, "batching": batching, "listen": "127.0.0.1:0", "up": False}
    asyncio.run(run(Settings(retention=ten_years, **tree), ready=listening))  # type: ignore[arg-type]
