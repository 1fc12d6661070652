"""`meterhouse up`: the whole product in one process group.

Indexer and API share this process and one store on the embedded ClickHouse (it allows one process per path);
the agent is a child process, as it is beside any service. Owns the order of starting and stopping:

    start  lock of the data, sockets, agent, store, indexer, API
    stop   agent (flush, send), indexer (drain), API, store

Everything that another process may still hold comes first, and is waited for. So after a kill -9 the new
process accepts lines while ClickHouse opens, and the old agent can hand over its frames. An agent that dies
is started again (shim/allinone/agent_keeper.py). It prints the addresses, and on a terminal a status line.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import uvloop

from agent.cli.common import DEFAULT_API_URL, report_error
from agent.cli.program import program
from agent.config.host_port import format_host_port, parse_host_port
from agent.config.load import ConfigError
from agent.config.secrets import masked_url
from agent.net.kernel_drops import rmem_max, suggested_fix
from agent.net.tls import client_contexts
from agent.runtime.logs import Log
from agent.settings import AgentSettings, ClientTls
from indexer.clickhouse.data_lock import DataLock
from indexer.clickhouse.store import Store, StoreError, embedded_path, open_store
from indexer.http.interpreter_lock import switch_often
from indexer.http.listening_sockets import START_WAIT_S, close, listen, port_of
from indexer.service import IndexerService
from indexer.write.insert_feed import InsertFeed
from indexer.write.journal import JournalError
from indexer.write.journal_file import has_journal
from shim.allinone.agent_keeper import AgentKeeper
from shim.allinone.agent_numbers import AgentNumbers
from shim.allinone.agent_process import ChildError
from shim.allinone.status_line import StatusLine, queries_of, size_of
from shim.cli.serve import File
from shim.http.house_sources import Beside
from shim.metrics import ShimMetrics
from shim.model.tenancy import Tenant
from shim.service import ShimService, freeze_started

#: Seconds that stopping may take in all; rows still unsent then are lost, and a message says so.
STOP_S: Final = 30.0
#: The exit code after Ctrl-C, as a shell shows it.
INTERRUPTED: Final = 130

T = TypeVar("T")


def serve(settings: File, arguments: list[str], environ: Mapping[str, str]) -> int:
    """Run until SIGTERM or SIGINT; return 0 if everything accepted is stored.

    `arguments` and `environ` are those of the agent. 130: Ctrl-C ended it before it was up.
    """
    try:
        switch_often()
        return uvloop.run(_serve(settings, arguments, environ))
    except (OSError, StoreError, JournalError, ChildError) as e:
        return report_error("up", e, 1)


def check_ages(settings: File) -> None:
    """Raise ConfigError where the agent may send a frame again that the indexer has forgotten."""
    max_age_s, days = settings.agent.spool.max_age_s, settings.indexer.journal.identity_days
    if has_journal(settings.indexer) and max_age_s > days * 86_400:
        raise ConfigError(
            f"agent.spool.max_age_s = {max_age_s:.15g}: expected at most {days * 86_400}, for which stored"
            f" frames are remembered (indexer.journal.identity_days = {days})"
        )


async def _serve(settings: File, arguments: list[str], environ: Mapping[str, str]) -> int:
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
        agent, indexer, api, metrics = parts
        signals.started = True
        print(_banner(settings, agent.addresses, indexer.url, api.url), flush=True)
        await _watch(signals.stop, agent, _status_line(settings, agent, indexer, metrics))
        return await agent.stop(STOP_S) or 0


async def _start(
    settings: File, arguments: list[str], environ: Mapping[str, str], closing: AsyncExitStack
) -> tuple[AgentKeeper, IndexerService, ShimService, ShimMetrics]:
    """Start all parts in their order; `closing` stops them, also those of a start that did not end."""
    data = embedded_path(settings.indexer.dsn)
    metrics = ShimMetrics()
    if data is not None:
        closing.callback((await asyncio.to_thread(DataLock, data, START_WAIT_S)).close)
    frames = await listen("indexer.listen", settings.indexer.listen, START_WAIT_S)
    closing.callback(close, frames)
    queries = await listen("shim.listen", settings.shim.listen, START_WAIT_S)
    closing.callback(close, queries)
    over = {**_forward(settings, _url(settings, frames)), **_agent_paths(settings, data)}
    agent = AgentKeeper(arguments, {**environ, **over}, metrics.agent_restarts.inc)
    closing.push_async_callback(agent.stop, STOP_S)
    closing.callback(close, frames)  # first, so that the agent does not wait for answers
    await agent.start()
    store = await asyncio.to_thread(_open, settings, frames)
    closing.push_async_callback(asyncio.to_thread, store.close)
    # Only here does one process see every write; announcing them costs the writer a little.
    insert_feed = InsertFeed() if store.embedded and settings.shim.cache.max_bytes else None
    indexer = IndexerService(settings.indexer, store, insert_feed=insert_feed, socks=frames)
    api = _api(settings, store, indexer, insert_feed, queries, metrics, _beside(settings, agent, indexer))
    closing.push_async_callback(api.stop)
    closing.push_async_callback(indexer.stop)
    await indexer.start()
    closing.push_async_callback(agent.stop, STOP_S)
    await api.start()
    freeze_started()
    return agent, indexer, api, metrics


def _url(settings: File, socks: list[socket.socket]) -> str:
    """Where the agent sends frames: the host of the settings, the port that was bound."""
    host = parse_host_port(settings.indexer.listen)[0] or "127.0.0.1"
    address = format_host_port(host, port_of(socks))
    return f"{'https' if settings.indexer.tls.cert else 'http'}://{address}"


def _open(settings: File, frames: list[socket.socket]) -> Store:
    """Open the store; when that fails close `frames`, so that the agent does not wait for answers."""
    pool = settings.indexer.connections + 2 * settings.shim.concurrency + 3
    try:
        return open_store(settings.indexer.dsn, pool=pool, cluster=settings.indexer.cluster)
    except BaseException:
        close(frames)
        raise


def _api(
    settings: File,
    store: Store,
    indexer: IndexerService,
    insert_feed: InsertFeed | None,
    socks: list[socket.socket],
    metrics: ShimMetrics,
    beside: Beside,
) -> ShimService:
    # One retention for both services: the settings need it only once.
    reads = msgspec.structs.replace(settings.shim, retention=settings.indexer.retention)
    data = embedded_path(settings.indexer.dsn)
    return ShimService(
        reads,
        store=store,
        version=indexer.version,
        changes=indexer.registry.changes,
        insert_feed=insert_feed,
        recent=data.with_name(f"{data.name}.recent.json") if data is not None else None,
        agents=indexer.agents if store.embedded else None,  # a server may have other indexers
        limits=indexer.limits,
        subscribe=indexer.subscribe,
        take_messages=indexer.take_messages,
        socks=socks,
        metrics=metrics,
        beside=beside,
    )


def _forward(settings: File, url: str) -> dict[str, str]:
    """Tell the agent where the indexer is, and to trust its certificate, unless it has a CA."""
    over = {"METERHOUSE_AGENT__FORWARD__URL": url}
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


def _status_line(
    settings: File, agent: AgentKeeper, indexer: IndexerService, metrics: ShimMetrics
) -> StatusLine | None:
    """Return the status line; None with nothing to ask."""
    if not agent.addresses["ops"]:
        return None
    data = embedded_path(settings.indexer.dsn)
    return StatusLine(
        _ops_url(settings, agent.addresses),
        indexer.status,
        sys.stderr,
        _ops_context(settings),
        _drops_fix(settings),
        queries=lambda: queries_of(metrics.requests),
        disk_bytes=lambda: size_of(data) if data is not None else None,
    )


def _ops_context(settings: File) -> ssl.SSLContext | None:
    """Return the context that trusts the agent's own certificate; None where it has none."""
    cert = settings.agent.ops_tls.cert
    trust = ClientTls(ca=cert, check_name=False) if cert else None
    return client_contexts("agent.ops_tls", trust, Log("up")).current() if trust else None


def _beside(settings: File, agent: AgentKeeper, indexer: IndexerService) -> Beside:
    """Return the ways to ask our agent and our indexer, for the web page."""

    def url() -> str:
        return _ops_url(settings, agent.addresses) if agent.addresses["ops"] else ""

    def agents(tenant: Tenant) -> tuple[list[dict[str, Any]], list[str]]:
        def shows(org_id: int, project_id: int) -> bool:
            return org_id == tenant.org_id and tenant.project_id in (None, project_id)

        return indexer.agents_seen(shows), []

    return Beside(agents, AgentNumbers(url, _ops_context(settings)), settings.agent)


def _drops_fix(settings: File) -> Callable[[], str]:
    return lambda: suggested_fix(settings.agent.receive.buffer_bytes, rmem_max())


async def _watch(stop: asyncio.Event, agent: AgentKeeper, status: StatusLine | None) -> None:
    """Keep the agent running, and the status line, until we are asked to stop."""
    tasks = [asyncio.create_task(agent.run())]
    if status is not None:
        tasks.append(asyncio.create_task(status.run()))
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _ops_url(settings: File, agent: Mapping[str, Any]) -> str:
    """Return the URL of the agent's metrics."""
    return f"{'https' if settings.agent.ops_tls.cert else 'http'}://{agent['ops']}/metrics"


def _banner(settings: File, agent: Mapping[str, Any], indexer: str, api: str) -> str:
    lines = ", ".join(f"{kind} {agent[kind]}" for kind in ("udp", "tcp", "unix") if agent[kind])
    metrics = _ops_url(settings, agent) if agent["ops"] else "off"
    return f"""\
meterhouse is up; its data is in {masked_url(settings.indexer.dsn)}
  StatsD lines    {lines}
  agent metrics   {metrics}
  frames          {indexer}/v1/frames
  Prometheus API  {api}
  web page        {api}/
Grafana: add a Prometheus data source with URL {api} and scrape interval 10s.
Traffic to look at: {_demo_command(agent, api)}"""


def _demo_command(agent: Mapping[str, Any], api: str) -> str:
    """Return the command that sends the demo's traffic here, to be pasted into a shell."""
    options = ""
    if agent["udp"] and agent["udp"] != AgentSettings().udp:
        options += f" --address {shlex.quote(reachable(agent['udp']))}"
    if api != DEFAULT_API_URL:
        options += f" --url {shlex.quote(reachable(api))}"
    return f"{program()} demo{options}"


def reachable(address: str) -> str:
    """Return an address with this machine's own in place of one that means all of them."""
    return re.sub(r"(^|//)(?:0\.0\.0\.0|\[::\])(?=:)", r"\g<1>127.0.0.1", address)
