"""The agent as a child process of `meterhouse up`, seen from its parent.

The two are joined by one socket pair (`meterhouse agent --parent FD`): the child writes one JSON line with
its addresses when it listens. When the parent is gone, for any reason, the child reads end-of-file, sends its
rows and exits. So no agent survives its parent and keeps the port.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec

import meterhouse

#: How long the agent may take to say that it listens.
START_S: Final = 20.0
#: Seconds that stopping may take in all; rows still unsent then are lost, and a message says so.
STOP_S: Final = 30.0
#: Instead of an exit code.
NO_PROCESS: Final = -1


class ChildError(Exception):
    """The agent did not start; its own message is on stderr."""


class AgentProcess:
    """Starts, watches and stops the agent. `addresses` is its report from when it was ready."""

    def __init__(self, arguments: list[str], environ: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._environ = dict(environ)
        self._process: asyncio.subprocess.Process | None = None
        self._ours: socket.socket | None = None
        self.addresses: dict[str, Any] = {}
        self._listens = False

    async def start(self) -> None:
        """Start the agent and return when it listens. Raises ChildError."""
        self._ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    # By its file, not by -m: so a folder `agent` in the working directory cannot shadow ours.
                    *(sys.executable, meterhouse.__file__, "agent", "--parent", str(theirs.fileno())),
                    *self._arguments,
                    env=self._environ,
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                )
        except OSError as e:  # no memory for a process, or too many of them
            self.close()
            raise ChildError(f"the agent did not start: {e.strerror or e}") from None
        self._ours.setblocking(False)
        try:
            async with asyncio.timeout(START_S):
                said = await self._line()
        except TimeoutError:
            raise ChildError(f"the agent did not listen within {START_S:g} s") from None
        if not said:
            raise ChildError(f"the agent did not start (exit code {await self._process.wait()})")
        self.addresses = msgspec.json.decode(said, type=dict[str, Any])
        self._listens = True

    async def _line(self) -> bytes:
        """Return the child's output up to a newline; nothing if it closes first."""
        assert self._ours is not None
        said = b""
        while not said.endswith(b"\n"):
            part = await asyncio.get_running_loop().sock_recv(self._ours, 65_536)
            if not part:
                return b""
            said += part
        return said

    async def wait(self) -> int:
        """Wait for the agent to exit and return its exit code; NO_PROCESS if it never ran."""
        return await self._process.wait() if self._process is not None else NO_PROCESS

    def reload(self) -> None:
        """Send SIGHUP to an agent that listens; an earlier one would be ended by it."""
        if self._listens and self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGHUP)

    async def stop(self, deadline_s: float) -> int | None:
        """Ask the agent to send its rows and exit; kill it after `deadline_s`.

        Return its exit code (0: everything was sent), None if it never ran.
        """
        if self._process is None:
            return None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(deadline_s):
                code = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            code = await self._process.wait()
        self.close()
        return code

    def close(self) -> None:
        """Close our end of the socket pair; an agent that still runs leaves then."""
        if self._ours is not None:
            self._ours.close()
