"""`meterhouse up`: the whole product in one process group.

Indexer and API share this process and one store on the embedded ClickHouse (it allows one process per path);
the agent is a child process, as it is beside any service. Owns the order of starting and stopping:

    start  files of the listeners, lock of the data, sockets, agent, store, indexer, API
    stop   agent (flush, send), indexer (drain), API, store

Everything that another process may still hold comes first, and is waited for. So after a kill -9 the new
process accepts lines while ClickHouse opens, and the old agent can hand over its frames. This module imports
little: indexer and API (shim/allinone/inside.py) are imported when all addresses are bound, while the agent
starts. An agent that dies is started again (shim/allinone/agent_keeper.py). It prints the addresses, and on a
terminal a status line.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

import uvloop

from agent.cli.common import report_error
from agent.config.host_port import format_host_port, parse_host_port
from agent.config.load import ConfigError
from agent.runtime.reload_actions import ReloadAction
from agent.runtime.service_manager import ServiceManager
from indexer.clickhouse.data_lock import DataLock
from indexer.clickhouse.dsn import data_path
from indexer.http.access_files import check_access_files
from indexer.http.interpreter_lock import switch_often
from indexer.http.listening_sockets import START_WAIT_S, close, listen, port_of
from indexer.http.quick_imports import quick_imports
from indexer.http.reload_signal import reloading
from indexer.startup_checks import check_start
from shim.allinone.agent_keeper import AgentKeeper
from shim.allinone.agent_process import STOP_S, ChildError
from shim.allinone.parts import Running, Sockets
from shim.cli.serve import File
from shim.model.tenancy import entries

#: The exit code after Ctrl-C, as a shell shows it.
INTERRUPTED: Final = 130

T = TypeVar("T")


def serve(settings: File, arguments: list[str], environ: Mapping[str, str], on_reload: ReloadAction) -> int:
    """Run until SIGTERM or SIGINT; return 0 if everything accepted is stored.

    `arguments` and `environ` are those of the agent; SIGHUP runs `on_reload`.
    130: Ctrl-C ended it before it was up.
    """
    try:
        switch_often()
        return uvloop.run(_serve(settings, arguments, environ, on_reload))
    except _start_errors() as e:
        return report_error("up", e, 1)


def _start_errors() -> tuple[type[Exception], ...]:
    """Return the errors that a start may raise; imports those of the store only when there is one."""
    from indexer.clickhouse.store_errors import StoreError
    from indexer.write.journal import JournalError

    return OSError, StoreError, JournalError, ChildError


def check_ages(settings: File) -> None:
    """Raise ConfigError where the agent may send a frame again that the indexer has forgotten."""
    max_age_s, days = settings.agent.spool.max_age_s, settings.indexer.journal.identity_days
    if settings.indexer.has_journal and max_age_s > days * 86_400:
        raise ConfigError(
            f"agent.spool.max_age_s = {max_age_s:.15g}: expected at most {days * 86_400}, for which stored"
            f" frames are remembered (indexer.journal.identity_days = {days})"
        )


async def _serve(
    settings: File, arguments: list[str], environ: Mapping[str, str], on_reload: ReloadAction
) -> int:
    """Start everything, wait for a signal, stop everything. Return the exit code."""
    signals = _Signals()
    async with AsyncExitStack() as closing:
        try:
            parts = await _unless(_start(settings, arguments, environ, closing), signals.interrupted)
        except ChildError:
            if not signals.interrupted.is_set():  # else Ctrl-C in a terminal reached the agent, too
                raise
            parts = None
        if parts is None:
            return INTERRUPTED
        agent, running = parts
        signals.started = True
        print(running.banner, flush=True)
        manager = ServiceManager.of_environment()
        manager.ready("receives lines, answers queries")
        manager.keep_alive(asyncio.get_running_loop().call_later)
        running.reloads.add("settings", on_reload)
        running.reloads.add("agent", agent.reload)
        with reloading(running.reloads, signals.stop):
            await _watch(signals.stop, agent, running.status_line)
        manager.stopping()
        return await agent.stop(STOP_S) or 0


async def _start(
    settings: File, arguments: list[str], environ: Mapping[str, str], closing: AsyncExitStack
) -> tuple[AgentKeeper, Running]:
    """Start all parts in their order; `closing` stops them, also those of a start that did not end."""
    _check(settings)
    data = data_path(settings.indexer.dsn)
    if data is not None:
        closing.callback((await asyncio.to_thread(DataLock, data, START_WAIT_S)).close)
    frames = await listen("indexer.listen", settings.indexer.listen, START_WAIT_S)
    closing.callback(close, frames)
    queries = await listen("shim.listen", settings.shim.listen, START_WAIT_S)
    closing.callback(close, queries)
    over = {**_forward(settings, _url(settings, frames)), **_agent_paths(settings, data)}
    agent = AgentKeeper(arguments, {**environ, **over})
    closing.push_async_callback(agent.stop, STOP_S)
    closing.callback(close, frames)  # first, so that the agent does not wait for answers
    inside, _ = await asyncio.gather(asyncio.to_thread(_inside), agent.start())
    running: Running = await inside.start(settings, agent, Sockets(frames, queries), closing)
    return agent, running


def _check(settings: File) -> None:
    """Raise OSError for files of the listeners that cannot be used, and for a client that is missing."""
    check_start(settings.indexer)
    shim, tenancy = settings.shim, settings.shim.tenancy
    known = entries(tenancy)
    check_access_files("shim.tls", shim.tls, "shim.tenancy.tokens_file", known, tenancy.tokens_file)


def _inside() -> ModuleType:
    """Import indexer and API."""
    with quick_imports():
        return importlib.import_module("shim.allinone.inside")


def _url(settings: File, socks: list[socket.socket]) -> str:
    """Return where the agent sends frames: the host of the settings, the port that was bound."""
    host = parse_host_port(settings.indexer.listen)[0] or "127.0.0.1"
    address = format_host_port(host, port_of(socks))
    return f"{'https' if settings.indexer.tls.cert else 'http'}://{address}"


def _forward(settings: File, url: str) -> dict[str, str]:
    """Tell the agent where the indexer is, and to trust its certificate, unless it has a CA."""
    name = "METERHOUSE_AGENT__FORWARD__"
    over = {f"{name}URL": url, f"{name}URLS": "[]", f"{name}GONE": "[]", f"{name}JOURNALS_LOST": "[]"}
    tls = settings.indexer.tls
    if tls.cert and not settings.agent.forward.tls.ca:  # its name may be another one than that of the address
        over["METERHOUSE_AGENT__FORWARD__TLS__CA"] = tls.cert
        over["METERHOUSE_AGENT__FORWARD__TLS__CHECK_NAME"] = "false"
    return over


def _agent_paths(settings: File, data: Path | None) -> dict[str, str]:
    """Give the agent directories for its state and its spool beside the store, unless it has its own."""
    if data is None:
        return {}
    beside = {
        "METERHOUSE_AGENT__STATE_DIR": (settings.agent.state_dir, "agent"),
        "METERHOUSE_AGENT__SPOOL__PATH": (settings.agent.spool.path, "spool"),
    }
    return {
        name: str(data.with_name(f"{data.name}.{suffix}").resolve())
        for name, (own, suffix) in beside.items()
        if not own
    }


class _Signals:
    """SIGTERM and SIGINT: `stop` is set by both, and the second signal ends the process at once.

    `interrupted`: set by a SIGINT before `started`.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.interrupted = asyncio.Event()
        self.started = False
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._received, signum)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # shim/allinone/command.py blocked it

    def _received(self, signum: signal.Signals) -> None:
        if self.stop.is_set():
            os._exit(1 if self.started or signum != signal.SIGINT else INTERRUPTED)
        self.stop.set()
        if signum == signal.SIGINT and not self.started:
            self.interrupted.set()


async def _unless(start: Coroutine[Any, Any, T], event: asyncio.Event) -> T | None:
    """Return the result of a start; None if the event was set before, which cancels it."""
    starting, waiting = asyncio.ensure_future(start), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return None
        return starting.result()
    finally:
        waiting.cancel()


async def _watch(
    stop: asyncio.Event, agent: AgentKeeper, status_line: Callable[[], Coroutine[Any, Any, None]] | None
) -> None:
    """Keep the agent running, and the status line, until we are asked to stop."""
    tasks = [asyncio.create_task(agent.run())]
    if status_line is not None:
        tasks.append(asyncio.create_task(status_line()))
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
