"""Waits for the tables that the indexer makes, and says so to clients: 503 until they are there.

Owns the pauses between looks. Runs in one event loop; looks run in threads. An embedded store has one
process, so no indexer can make its tables meanwhile: that is an error at once.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from indexer.clickhouse.schema import applied_versions, lacking
from indexer.clickhouse.store import Store, StoreError
from shim.http.responses import failure, plain
from shim.http.server import Runner
from shim.model.errors import Unavailable

_log: Final = logging.getLogger("shim.tables")

#: Seconds between two looks.
_LOOK_S: Final = 1.0
#: Seconds between two lines in the log.
_SAY_S: Final = 60.0
_BACKLOG: Final = 128

_InThread = Callable[[Callable[[], str]], Awaitable[str]]


async def wait_for_tables(
    store: Store,
    in_thread: _InThread,
    make_runner: Callable[[web.Application], Runner],
    socks: Sequence[socket.socket],
) -> None:
    """Return once the store has the tables of this version; serve 503 on `socks` until then.

    Raises StoreError for a lasting fault.
    """
    problem = await _look(store, in_thread)
    if not problem:
        return
    if store.embedded:
        raise StoreError(problem, retryable=False)
    runner = make_runner(_app(lambda: problem))
    await runner.setup()
    try:
        for sock in socks:  # copies: the application that follows serves on the same sockets
            await runner.site(sock.dup(), _BACKLOG).start()
        waited_s = 0.0
        while problem:
            if waited_s % _SAY_S == 0:
                _log.warning("event=waiting_for_tables waited_s=%.0f text=%s", waited_s, problem)
            await asyncio.sleep(_LOOK_S)
            waited_s += _LOOK_S
            problem = await _look(store, in_thread)
    finally:
        await runner.cleanup()


async def _look(store: Store, in_thread: _InThread) -> str:
    """Return why the store cannot be read yet, in words for clients; empty if it can.

    Raises StoreError for a lasting fault.
    """
    try:
        return await in_thread(lambda: _problem(store))
    except StoreError as e:
        if not e.retryable:
            raise
        return e.told


def _problem(store: Store) -> str:
    problem = lacking(applied_versions(store), store.database)
    if not problem:
        return ""
    return f"{problem}: start an indexer of this version, or run `meterhouse schema apply`"


def _app(problem: Callable[[], str]) -> web.Application:
    """Make the application that has one answer."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/-/healthy":
            return plain("Meterhouse is Healthy.\n")
        if request.path == "/-/ready":
            return plain(f"Service Unavailable: {problem()}\n", 503)
        return failure(Unavailable(problem()))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app
