"""Runs the indexer as a process of its own, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from agent.runtime.logs import Log
from agent.runtime.reload_actions import ReloadAction
from agent.runtime.service_manager import ServiceManager
from indexer.clickhouse.store import Store
from indexer.clickhouse.wait_for_store import started
from indexer.http.coalesced_reloads import CoalescedReloads
from indexer.http.listening_sockets import START_WAIT_S
from indexer.http.reload_signal import reloading
from indexer.service import IndexerService
from indexer.settings import Settings
from indexer.tables_ready import EarlyTables
from indexer.write.journal import JournalError


async def run(
    settings: Settings,
    *,
    store: Store | None = None,
    socks: list[socket.socket] | None = None,
    ready: Callable[[IndexerService], None] | None = None,
    stop: asyncio.Event | None = None,
    on_reload: ReloadAction | None = None,
    early: EarlyTables | None = None,
) -> None:
    """Serve until `stop` is set or SIGTERM or SIGINT comes; call `ready` when it listens.

    SIGHUP runs `on_reload`. `early`: tables that are made ready already.
    """
    stopping = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError, ValueError, RuntimeError):  # not the main thread: `stop` it is
            loop.add_signal_handler(signum, stopping.set)
    service = IndexerService(settings, store, socks=socks, early=early)
    manager = ServiceManager.of_environment()
    await service.bind(START_WAIT_S)
    try:
        if not await started(service.start(), stopping):  # ClickHouse is away, and we are asked to stop
            return
    except JournalError as e:
        raise OSError(str(e)) from e
    try:
        if ready is not None:
            ready(service)
        manager.ready("receives frames and messages")
        manager.keep_alive(loop.call_later)
        reloads = CoalescedReloads(Log("indexer.reload"))
        if on_reload is not None:
            reloads.add("settings", on_reload)
        with reloading(reloads, stopping):
            await stopping.wait()
    finally:
        manager.stopping()
        await service.stop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError, ValueError, RuntimeError):
                loop.remove_signal_handler(signum)
