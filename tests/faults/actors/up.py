"""The embedded house: `meterhouse up` with its agent as a child, and a journal on a small disk.

client -> agent (child, spool) -> indexer (journal) and API in one process, on ClickHouse in that process
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.e2e.product import Api, get, wait_for
from tests.faults.actors.disk import SmallDisk
from tests.faults.actors.entrance import PATIENT_S, Entrance, web_address
from tests.faults.actors.processes import AGENT, Actor


class UpHouse(Entrance):
    """`meterhouse up` at addresses that stay over its restarts."""

    def __init__(self, folder: Path) -> None:
        ops_url, ops = web_address()
        api_url, api = web_address()
        indexer_url, indexer = web_address()
        super().__init__(folder, SmallDisk(folder / "journal"), Api(api_url), ops_url, indexer_url)
        self.journal = self.disk.path / "journal.sqlite"
        self.up = Actor(
            folder,
            [
                *("up", "--statsd", f"{self.tcp[0]}:{self.tcp[1]}", "--data", str(folder / "data")),
                *("--indexer", indexer, "--api", api),
            ],
            self._ready,
            {
                **AGENT,
                "METERHOUSE_AGENT__OPS": ops,
                "METERHOUSE_INDEXER__ACKNOWLEDGE_S": "4",
                "METERHOUSE_INDEXER__UP": "false",
                "METERHOUSE_INDEXER__JOURNAL__PATH": str(self.journal),
                "METERHOUSE_SHIM__SETTLE_S": "0",
            },
        )

    def start(self) -> None:
        """Mount the journal's disk and start."""
        self.disk.mount()
        self.restart()

    def restart(self) -> None:
        """Start it, with a new agent whose counters begin at 0."""
        self.sent_lines = 0
        self.up.start()

    def kill_agent(self) -> None:
        """Kill -9 of the agent alone, and wait until there is another one."""
        self.sent_lines = 0
        before = self.up.kill_child()
        wait_for(
            lambda: before not in self.up.children() and self._ready(), "there is another agent", PATIENT_S
        )

    def checkpoint_journal(self) -> None:
        """Leave nothing in the journal's write-ahead file: the next commit needs room, and all is in one."""
        with closing(sqlite3.connect(self.journal, timeout=PATIENT_S)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def remove_journal(self) -> None:
        """Delete the journal, as its operator would."""
        for path in self.journal.parent.glob(f"{self.journal.name}*"):
            path.unlink()

    def output(self) -> str:
        return self.up.output

    def clear(self) -> None:
        """End everything."""
        self.up.clear()
        self.disk.unmount()

    def _ready(self) -> bool:
        ready = get(f"{self.api.url}/-/ready", 5)[0] == 200 and self.indexer_ready()[0] == 200
        return ready and get(f"{self.ops}/healthz", 5)[0] == 200
