"""The inside of `meterhouse up`: the store, the indexer and the API, on sockets that are bound already.

Imports all that they need, so `up.py` imports it late.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from agent.cli.common import DEFAULT_API_URL
from agent.cli.program import program
from agent.config.secrets import masked_url
from agent.net.kernel_drops import rmem_max, suggested_fix
from agent.net.tls import client_contexts
from agent.runtime.logs import Log
from agent.settings import AgentSettings, ClientTls
from indexer.clickhouse.store import Store, embedded_path, open_store
from indexer.http.listening_sockets import close
from indexer.service import IndexerService
from indexer.write.insert_feed import InsertFeed
from shim.allinone.agent_keeper import AgentKeeper
from shim.allinone.agent_numbers import AgentNumbers
from shim.allinone.agent_process import STOP_S
from shim.allinone.parts import Running, Sockets
from shim.allinone.status_line import StatusLine, queries_of, size_of
from shim.cli.serve import File
from shim.http.house_sources import Beside
from shim.metrics import ShimMetrics
from shim.model.tenancy import Tenant
from shim.service import ShimService, freeze_started


async def start(settings: File, agent: AgentKeeper, socks: Sockets, closing: AsyncExitStack) -> Running:
    """Open the store, and start indexer and API on their sockets; `closing` stops them.

    The agent runs. Raises StoreError, JournalError and OSError.
    """
    metrics = ShimMetrics()
    agent.restarted = metrics.agent_restarts.inc
    store = await asyncio.to_thread(_open, settings, socks.frames)
    closing.push_async_callback(asyncio.to_thread, store.close)
    # Only here does one process see every write; announcing them costs the writer a little.
    insert_feed = InsertFeed() if store.embedded and settings.shim.cache.max_bytes else None
    indexer = IndexerService(settings.indexer, store, insert_feed=insert_feed, socks=socks.frames)
    beside = _beside(settings, agent, indexer)
    api = _api(settings, store, indexer, insert_feed, socks.queries, metrics, beside)
    closing.push_async_callback(api.stop)
    closing.push_async_callback(indexer.stop)
    await indexer.start()
    closing.push_async_callback(agent.stop, STOP_S)
    await api.start()
    freeze_started()
    status = _status_line(settings, agent, indexer, metrics)
    return Running(
        _banner(settings, agent.addresses, indexer.url, api.url),
        status.run if status is not None else None,
        api.reloads,
    )


def _open(settings: File, frames: list[socket.socket]) -> Store:
    """Open the store; when that fails close `frames`, so that the agent does not wait for answers."""
    pool = settings.indexer.connections + 2 * settings.shim.concurrency + 3
    try:
        cluster, quorum = settings.indexer.cluster, settings.indexer.insert_quorum
        return open_store(settings.indexer.dsn, pool=pool, cluster=cluster, insert_quorum=quorum)
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
        delete=indexer.delete,
        socks=socks,
        metrics=metrics,
        beside=beside,
    )


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
