"""Where lines and messages go into a house, and how it is known that they are promised."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from tests.e2e.product import Api, get, wait_for
from tests.faults.actors.disk import SmallDisk
from tests.support.ports import free_port

#: Tests run beside others on a machine with few cores.
PATIENT_S: Final = 300.0
#: Looks in a row at which an agent holds nothing that is not promised.
_STEADY: Final = 5


class Entrance:
    """The addresses of a house in `folder`.

    `disk`: one that can be filled. `ops`, `indexer`: URLs of its agent and of its indexer.
    """

    def __init__(self, folder: Path, disk: SmallDisk, api: Api, ops: str, indexer: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.disk, self.api, self.ops = folder, disk, api, ops
        self.indexer_url = indexer
        self.tcp = self.udp = ("127.0.0.1", free_port())
        self.messages_url = f"{indexer}/v1/messages"
        #: Lines sent to the present run of the agent.
        self.sent_lines = 0

    def start(self) -> None:
        """Start everything."""
        raise NotImplementedError

    def clear(self) -> None:
        """End everything."""
        raise NotImplementedError

    def output(self) -> str:
        """Return the output of the indexer's process."""
        raise NotImplementedError

    def indexer_ready(self) -> tuple[int, bytes]:
        """Ask the indexer itself whether it is ready."""
        return get(f"{self.indexer_url}/readyz", 5)

    def agent_metrics(self) -> dict[str, float]:
        """Return sums of the agent's metrics by name, without `meterhouse_agent_`; empty when it is away."""
        out: dict[str, float] = {}
        for line in get(f"{self.ops}/metrics", 5)[1].decode().splitlines():
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
        ready = get(f"{self.ops}/readyz", 5), self.indexer_ready()
        return f"not promised: {metrics}\nreadyz: {ready}\n{self.output()[-3000:]}"


def web_address(host: str = "127.0.0.1") -> tuple[str, str]:
    """Return a free address as URL and as host:port."""
    address = f"{host}:{free_port()}"
    return f"http://{address}", address
