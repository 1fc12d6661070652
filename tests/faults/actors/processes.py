"""A house of real processes that may be killed, stopped and started again at the same addresses.

    client -> agent (spool) -> Proxy -> indexer -> Proxy -> ClickHouse over HTTP <- API

The indexer's cache is a real Redis. Every process runs under its own name in `House.actors`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.e2e.product import PROGRAM, ROOT, Api, Process, get, wait_for
from tests.faults.actors.disk import SmallDisk
from tests.faults.actors.entrance import PATIENT_S, Entrance, web_address
from tests.faults.actors.network import Network
from tests.faults.proxy import Proxy
from tests.support.faketime import FakeTime, has_faketime
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

FORTY_DAYS_S: Final = 40 * 86_400

AGENT: Final = {
    "METERHOUSE_AGENT__AGGREGATE__LATENESS_S": str(FORTY_DAYS_S),
    "METERHOUSE_AGENT__FLUSH__LATE_MS": "100",
    # An open bucket is an entry, even an empty one: with checkpoints none is left after some moments.
    "METERHOUSE_AGENT__SPOOL__CHECKPOINT_MS": "200",
    "METERHOUSE_AGENT__FLUSH__MAX_FRAME_ROWS": "300",
    "METERHOUSE_AGENT__FORWARD__BACKOFF_S": "0.05",
    "METERHOUSE_AGENT__FORWARD__MAX_BACKOFF_S": "0.5",
    "METERHOUSE_AGENT__FORWARD__TIMEOUT_S": "5",
}


class Actor:
    """A process that starts again with the same command."""

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        ready: Callable[[], bool],
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._folder, self._arguments, self._ready = folder, arguments, ready
        self.environ = dict(environ or {})
        self._program = program
        self._process: Process | None = None

    @property
    def output(self) -> str:
        """Output of the present process."""
        return self._process.output if self._process else ""

    @property
    def pid(self) -> int:
        """The present process."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> Process:
        """Start it, if it does not run."""
        if self._process is None or not self._process.running:
            self._process = Process(
                self._folder, *self._arguments, environ=self.environ, program=self._program
            )
        return self._process

    def start(self) -> None:
        """Start it, if it does not run, and wait until it is ready."""
        process = self.launch()

        def ready() -> bool:
            assert process.running, f"{self._arguments} ended:\n{process.output}"
            return self._ready()

        wait_for(ready, f"{self._arguments} is ready", PATIENT_S)

    def kill(self) -> None:
        """Kill -9 of this process alone."""
        assert self._process is not None
        self._process.kill()

    def kill_child(self) -> int:
        """Kill -9 of its only child; return which process that was."""
        (child,) = self.children()
        os.kill(child, signal.SIGKILL)
        return child

    def children(self) -> list[int]:
        """Return its children."""
        return [int(n) for n in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def ended(self) -> bool:
        """Return whether it runs no longer."""
        return self._process is None or not self._process.running

    def signal(self, number: int) -> None:
        """Send a signal: SIGSTOP and SIGCONT."""
        os.kill(self.pid, number)

    def clear(self) -> None:
        """End it in any state."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
            self._process.clear()


class House(Entrance):
    """All processes of one store, in one folder.

    `own_clocks`: agent and indexer have a clock each, where faketime is installed. The agent is in a network
    of its own, where that is allowed.
    """

    def __init__(self, folder: Path, batching: str = "frame", *, own_clocks: bool = True) -> None:
        self.network = Network()
        api, api_address = web_address()
        ops_url, ops = web_address(self.network.agent)
        indexer, indexer_address = web_address()
        super().__init__(folder, SmallDisk(folder / "spool"), Api(api), ops_url, indexer)
        self.tcp = self.udp = (self.network.agent, free_port())
        faked = own_clocks and has_faketime()
        self.clocks = [FakeTime(_made(folder / f"clock-{n}")) for n in range(2)] if faked else []
        agent_clock, indexer_clock = [clock.environ for clock in self.clocks] or [{}, {}]
        store, store_address = web_address()
        self.redis = RedisServer(folder)
        self.to_store, self.to_indexer = Proxy(store), Proxy(indexer, self.network.indexer)
        self.messages_url = f"{self.to_indexer.url}/v1/messages"
        self.clickhouse = Actor(
            folder,
            [
                "-m",
                "tests.support.clickhouse_http",
                str(folder / "clickhouse"),
                store_address.rpartition(":")[2],
            ],
            lambda: get(f"{store}/ping")[0] == 200,
            {"PYTHONPATH": str(ROOT)},
            (sys.executable,),
        )
        self.indexer = Actor(folder, ["indexer"], lambda: _ready(self.indexer_url), {
            **indexer_clock,
            "METERHOUSE_INDEXER__LISTEN": indexer_address,
            "METERHOUSE_INDEXER__DSN": f"{self.to_store.url}/default",
            "METERHOUSE_INDEXER__REDIS_URL": self.redis.url,
            "METERHOUSE_INDEXER__BATCHING": batching,
            "METERHOUSE_INDEXER__ACKNOWLEDGE_S": "4",
            "METERHOUSE_INDEXER__UP": "false",
        })  # fmt: skip
        self.agent = Actor(folder, ["agent"], lambda: get(f"{self.ops}/healthz")[0] == 200, {
            **AGENT,
            **agent_clock,
            "METERHOUSE_AGENT__UDP": f"{self.udp[0]}:{self.udp[1]}",
            "METERHOUSE_AGENT__TCP": f"{self.tcp[0]}:{self.tcp[1]}",
            "METERHOUSE_AGENT__OPS": ops,
            "METERHOUSE_AGENT__NAME": "faults",
            "METERHOUSE_AGENT__FORWARD__URL": self.to_indexer.url,
            "METERHOUSE_AGENT__SPOOL__PATH": str(self.disk.path),
        }, (*self.network.prefix, *PROGRAM))  # fmt: skip
        self.shim = Actor(folder, ["shim"], lambda: get(f"{api}/-/ready")[0] == 200, {
            "METERHOUSE_SHIM__LISTEN": api_address,
            "METERHOUSE_SHIM__DSN": f"{store}/default",
            "METERHOUSE_SHIM__SETTLE_S": "0",
        })  # fmt: skip

    def start(self) -> None:
        """Start everything, the store first."""
        self.start_without_agent()
        self.agent.start()

    def start_without_agent(self) -> None:
        """Start everything else."""
        self.disk.mount()
        self.redis.start()
        for actor in (self.clickhouse, self.indexer, self.shim):
            actor.start()

    def start_agent(self) -> None:
        """Start the agent after its death: its counters begin at 0."""
        self.sent_lines = 0
        self.agent.start()

    def output(self) -> str:
        return self.indexer.output

    def clear(self) -> None:
        """End everything."""
        for actor in (self.agent, self.indexer, self.shim, self.clickhouse):
            actor.clear()
        self.redis.stop()
        self.to_indexer.close()
        self.to_store.close()
        self.disk.unmount()
        self.network.close()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _ready(url: str) -> bool:
    return get(f"{url}/readyz", 5)[0] == 200
