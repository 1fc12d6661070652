"""Keeps the agent of `meterhouse up` running: starts it again, with growing pauses, when it ends by itself.

The addresses stay those of the first start, because clients go on sending there. API and indexer do not stop
for a dead agent: stored data can be read, and frames of other agents are accepted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from shim.allinone.agent_process import AgentProcess, ChildError

log = logging.getLogger("shim.agent")

_FIRST_PAUSE_S: Final = 0.5
_MAX_PAUSE_S: Final = 30.0
#: An agent that ran for so long starts again after the first pause.
_STEADY_S: Final = 60.0
#: How long an agent that did not start may take to leave.
_FAILED_STOP_S: Final = 5.0


def pause_s(failures: int) -> float:
    """Return the pause before the next start, after `failures` (at least 1) short lives in a row."""
    return float(min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16)))


class AgentKeeper:
    """One agent at once; `restarted` is called for each start after the first one."""

    def __init__(
        self,
        arguments: list[str],
        environ: Mapping[str, str],
        restarted: Callable[[], None] = lambda: None,
    ) -> None:
        self._arguments = arguments
        self._environ = dict(environ)
        self.restarted = restarted
        self._agent = AgentProcess(arguments, environ)
        self.restarts = 0

    @property
    def addresses(self) -> Mapping[str, Any]:
        """Where the agent listens, by listener."""
        return self._agent.addresses

    async def start(self) -> None:
        """Start the agent for the first time. Raises ChildError."""
        await self._agent.start()
        for name, address in self._agent.addresses.items():
            if address:  # where a free port was asked for, it is this one from now on
                self._environ[f"METERHOUSE_AGENT__{name.upper()}"] = address

    async def run(self) -> None:
        """Start the agent again whenever it ends, until cancelled."""
        failures = 0
        while True:
            began_s = time.monotonic()
            code = await self._agent.wait()
            failures = 1 if time.monotonic() - began_s >= _STEADY_S else failures + 1
            pause = pause_s(failures)
            log.warning(
                "event=agent_ended exit_code=%d again_in_s=%.3g restarts=%d", code, pause, self.restarts
            )
            await asyncio.sleep(pause)
            await self._start_again()

    async def _start_again(self) -> None:
        before = self._agent.addresses
        self._agent.close()
        self._agent = AgentProcess(self._arguments, self._environ)
        self._agent.addresses = before
        self.restarts += 1
        self.restarted()
        try:
            await self._agent.start()
        except ChildError as e:
            log.warning("event=agent_not_started error=%s", e)
            await self._agent.stop(_FAILED_STOP_S)
        else:
            log.info("event=agent_started restarts=%d", self.restarts)

    async def reload(self) -> Sequence[str]:
        """Tell the agent to reload, as an action of a reload; its own log tells the result."""
        self._agent.reload()
        return []

    async def stop(self, deadline_s: float) -> int | None:
        """Stop the agent; return its exit code, 0 where everything was sent. Call it once `run` has ended."""
        return await self._agent.stop(deadline_s)
