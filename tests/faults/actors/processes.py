"""A house of real processes that may be killed, stopped and started again at the same addresses.

    client -> agent (spool) -> Proxy -> indexer -> Proxy -> ClickHouse over HTTP <- API

The indexer's cache is a real Redis. Every process runs under its own name in `House.actors`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.e2e.product import PROGRAM, ROOT, Api, Process, free_port, get, wait_for
from tests.faults.proxy import Proxy
from tests.support.redis_server import RedisServer

#: Tests run beside others on a machine with few cores.
PATIENT_S: Final = 120.0
FORTY_DAYS_S: Final = 40 * 86_400
#: Looks in a row at which an agent holds nothing that is not promised.
_STEADY: Final = 5

_AGENT: Final = {
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
        """What the present process has written."""
        return self._process.output if self._process else ""

    @property
    def pid(self) -> int:
        """The present process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, if it does not run, and wait until it is ready."""
        if self._process is None or not self._process.running:
            self._process = Process(
                self._folder, *self._arguments, environ=self.environ, program=self._program
            )
        process = self._process

        def ready() -> bool:
            assert process.running, f"{self._arguments} ended:\n{process.output}"
            return self._ready()

        wait_for(ready, f"{self._arguments} is ready", PATIENT_S)

    def kill(self) -> None:
        """Kill -9 of this process alone."""
        assert self._process is not None
        self._process.kill()

    def signal(self, number: int) -> None:
        """Send a signal: SIGSTOP and SIGCONT."""
        os.kill(self.pid, number)

    def clear(self) -> None:
        """End it in whatever state it is."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
            self._process.clear()


class House:
    """All processes of one store, in one folder."""

    def __init__(self, folder: Path, batching: str = "frame") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.spool = folder, folder / "spool"
        self.tcp = self.udp = ("127.0.0.1", free_port())
        self._ops, ops = _web()
        store, store_address = _web()
        self._indexer, indexer_address = _web()
        api, api_address = _web()
        self.redis = RedisServer(folder)
        self.to_store, self.to_indexer = Proxy(store), Proxy(self._indexer)
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
        self.indexer = Actor(folder, ["indexer"], lambda: _ready(self._indexer), {
            "METERHOUSE_INDEXER__LISTEN": indexer_address,
            "METERHOUSE_INDEXER__DSN": f"{self.to_store.url}/default",
            "METERHOUSE_INDEXER__REDIS_URL": self.redis.url,
            "METERHOUSE_INDEXER__BATCHING": batching,
            "METERHOUSE_INDEXER__ACKNOWLEDGE_S": "4",
            "METERHOUSE_INDEXER__UP": "false",
        })  # fmt: skip
        self.agent = Actor(folder, ["agent"], lambda: get(f"{self._ops}/healthz")[0] == 200, {
            **_AGENT,
            "METERHOUSE_AGENT__UDP": f"{self.udp[0]}:{self.udp[1]}",
            "METERHOUSE_AGENT__TCP": f"{self.tcp[0]}:{self.tcp[1]}",
            "METERHOUSE_AGENT__OPS": ops,
            "METERHOUSE_AGENT__NAME": "faults",
            "METERHOUSE_AGENT__FORWARD__URL": self.to_indexer.url,
            "METERHOUSE_AGENT__SPOOL__PATH": str(self.spool),
        })  # fmt: skip
        self.shim = Actor(folder, ["shim"], lambda: get(f"{api}/-/ready")[0] == 200, {
            "METERHOUSE_SHIM__LISTEN": api_address,
            "METERHOUSE_SHIM__DSN": f"{store}/default",
            "METERHOUSE_SHIM__SETTLE_S": "0",
        })  # fmt: skip
        self.api = Api(api)
        #: Lines sent to the present run of the agent.
        self.sent_lines = 0

    def start(self) -> None:
        """Start everything, the store first."""
        self.redis.start()
        for actor in (self.clickhouse, self.indexer, self.agent, self.shim):
            actor.start()

    def start_agent(self) -> None:
        """Start the agent after its death: its counters begin at 0."""
        self.sent_lines = 0
        self.agent.start()

    def agent_metrics(self) -> dict[str, float]:
        """Sums of the agent's metrics by name, without `meterhouse_agent_`; empty when it does not answer."""
        out: dict[str, float] = {}
        for line in get(f"{self._ops}/metrics", 5)[1].decode().splitlines():
            if line.startswith("meterhouse_agent_"):
                name = line.removeprefix("meterhouse_agent_").partition(" ")[0].partition("{")[0]
                out[name] = out.get(name, 0.0) + float(line.rpartition(" ")[2])
        return out

    def wait_until_received(self) -> None:
        """Return when the agent has read all lines."""
        wait_for(
            lambda: self.agent_metrics().get("lines_total") == self.sent_lines,
            f"the agent has read {self.sent_lines} lines: {self.agent_metrics()}",
            PATIENT_S,
        )

    def wait_until_promised(self, *, acknowledged: bool = False) -> None:
        """Return when all lines are in frames that are acknowledged or, unless `acknowledged`, spooled."""
        self.wait_until_received()
        steady = 0

        def promised() -> bool:
            nonlocal steady
            m = self.agent_metrics()
            held = 0 if acknowledged else m.get("spool_frames", 0)
            steady = steady + 1 if m and m["entries"] == 0 and m["unsent_frames"] <= held else 0
            assert m.get("dropped_frames_total", 0) == 0, f"the agent drops frames: {m}"
            return steady >= _STEADY

        end = time.monotonic() + PATIENT_S
        while not promised():
            assert time.monotonic() < end, self._state()
            time.sleep(0.05)

    def _state(self) -> str:
        """Return why lines may not be promised."""
        metrics = {k: v for k, v in self.agent_metrics().items() if v}
        ready = get(f"{self._ops}/readyz", 5), get(f"{self._indexer}/readyz", 5)
        return f"not promised: {metrics}\nreadyz: {ready}\n{self.indexer.output[-3000:]}"

    def clear(self) -> None:
        """End everything."""
        for actor in (self.agent, self.indexer, self.shim, self.clickhouse):
            actor.clear()
        self.redis.stop()
        self.to_indexer.close()
        self.to_store.close()


def _web() -> tuple[str, str]:
    address = f"127.0.0.1:{free_port()}"
    return f"http://{address}", address


def _ready(url: str) -> bool:
    return get(f"{url}/readyz", 5)[0] == 200
