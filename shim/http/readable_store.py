"""Opens a store once it can be read, and says to clients why it cannot until then: 503.

It lacks tables, which an indexer makes, or its user's profile changes answers and may not be overridden. Owns
the pauses between looks. Runs in one event loop; looks run in threads. An embedded store has one process, so
nothing can change meanwhile: that is an error at once.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from aiohttp import web

from agent.runtime.program_version import program_version
from indexer.clickhouse.expected_settings import BOUNDS
from indexer.clickhouse.schema import applied_versions, lacking, later_migrations, too_new
from indexer.clickhouse.store import Store, StoreError
from indexer.clickhouse.wait_for_store import open_when_there
from shim.http.responses import failure, plain
from shim.http.server import Runner
from shim.model.errors import Unavailable

_log: Final = logging.getLogger("shim.store")

#: Seconds between two looks.
_LOOK_S: Final = 1.0
#: Seconds between two lines in the log.
_SAY_S: Final = 60.0
_BACKLOG: Final = 128

_T = TypeVar("_T")


class _InThread(Protocol):
    def __call__(self, call: Callable[[], _T]) -> Awaitable[_T]: ...


async def open_when_readable(
    opening: Callable[[int], Store],
    pool: int,
    in_thread: _InThread,
    make_runner: Callable[[web.Application], Runner],
    socks: Sequence[socket.socket],
) -> Store:
    """Return the store with `pool` clients once it has all that this version reads.

    `opening` takes the number of clients. 503 is served on `socks` until then. Raises StoreError for a
    lasting fault.
    """
    store = await open_when_there(lambda: opening(pool), in_thread)
    problem = await _look(store, in_thread, keep=True)
    if not problem:
        return _told(store)
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
            problem = await _look(await open_when_there(lambda: opening(1), in_thread), in_thread)
        return _told(await open_when_there(lambda: opening(pool), in_thread))
    finally:
        await runner.cleanup()


def _told(store: Store) -> Store:
    """Return the store; log the settings that its user may not send."""
    if not store.takes_settings:
        _log.warning("event=settings_left_out readonly=1 names=%s", ",".join(BOUNDS))
    return store


async def _look(store: Store, in_thread: _InThread, *, keep: bool = False) -> str:
    """Return why the store cannot be read yet, in words for clients; empty if it can.

    Close it, but not where it can be read and `keep` is set. Raises StoreError for a lasting fault.
    """
    problem = "not known"
    try:
        problem = await in_thread(lambda: _problem(store))
        if problem and store.embedded:
            raise StoreError(problem, retryable=False)
    except StoreError as e:
        if not e.retryable:
            raise
        problem = e.told
    finally:
        if problem or not keep:
            store.close()
    return problem


def _problem(store: Store) -> str:
    if refused := store.refused_settings():
        return f"ClickHouse cannot be queried: {refused}"
    problem = lacking(applied_versions(store), store.database)
    if not problem:
        return too_new(later_migrations(store), store.database, program_version())
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
