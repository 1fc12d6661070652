"""Sources of the page about the product (house.py) where agents and indexers are other processes.

Agents are asked of the indexers of the settings. Blocks: call it in a thread.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from agent.cli.line_explainer import LineExplainer
from agent.runtime.reload_actions import ReloadActions
from agent.settings import AgentSettings
from indexer.clickhouse.store import Store
from shim.catalog import Catalog, MetadataQueries
from shim.catalog.metric_index import MetricIndex
from shim.http.house import House
from shim.indexers.indexer_client import IndexerClient
from shim.model.tenancy import Tenant
from shim.settings import IndexersSettings, ShimSettings

STATUS: Final = "/status"
_TIMEOUT_S: Final = 2.0
#: All indexers together.
_DEADLINE_S: Final = 3.0
_MAX_AT_ONCE: Final = 32
_MAX_ORGS: Final = 50
#: An indexer lists up to `indexer.bounds.agents` agents, in some 400 bytes each.
_MAX_BYTES: Final = 16 << 20
_NO_INDEXERS: Final = "shim.indexers.urls names no indexer"
_NO_AGENT: Final = {"missing": "this process has no agent beside it: its own address shows its numbers"}

Agents = Callable[[Tenant], tuple[Sequence[Mapping[str, Any]], Sequence[str]]]


class _Status(msgspec.Struct):
    """The answer of an indexer."""

    agents: list[dict[str, Any]]


class RemoteAgents:
    """Asks all indexers side by side for the agents they have heard of. Thread-safe."""

    def __init__(self, settings: IndexersSettings) -> None:
        self._client = IndexerClient(settings)

    def __call__(self, tenant: Tenant) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the agents of a tenant, and the reason for each indexer that did not tell."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        silent = [] if self._client.urls else [_NO_INDEXERS]
        for url, answer in self._ask_all().items():
            try:
                told = _in_time(answer)
            except (OSError, http.client.HTTPException, ValueError) as e:
                silent.append(f"{urlsplit(url).hostname}: {e}")
                continue
            for one in filter(lambda one: is_of(one, tenant), told):
                key = tuple(one.get(name) for name in ("org_id", "project_id", "agent", "epoch"))
                if key not in found or one["heard_s_ago"] < found[key]["heard_s_ago"]:
                    found[key] = one
        return list(found.values()), silent

    def _ask_all(self) -> dict[str, Future[list[dict[str, Any]]]]:
        """Ask each indexer; return when all have answered, or at the deadline."""
        pool = ThreadPoolExecutor(min(len(self._client.urls), _MAX_AT_ONCE) or 1, "status of indexers")
        asked = {url: pool.submit(self._ask, url) for url in self._client.urls}
        wait(asked.values(), _DEADLINE_S)
        pool.shutdown(wait=False, cancel_futures=True)
        return asked

    def _ask(self, url: str) -> list[dict[str, Any]]:
        """Ask one indexer. Raises OSError, HTTPException, ValueError."""
        told = self._client.ask(url, STATUS, timeout_s=_TIMEOUT_S, max_bytes=_MAX_BYTES)
        if told.status != 200:
            raise OSError(f"status {told.status}: expected 200")
        return msgspec.json.decode(told.body, type=_Status).agents


def _in_time(answer: Future[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return a finished answer. Raises TimeoutError for another one, and the errors of asking."""
    if not answer.done() or answer.cancelled():
        raise TimeoutError(f"no answer within {_DEADLINE_S:g} s")
    return answer.result()


def is_of(agent: Mapping[str, Any], tenant: Tenant) -> bool:
    """Return whether an agent writes for a tenant."""
    return agent.get("org_id") == tenant.org_id and tenant.project_id in (None, agent.get("project_id"))


def disk(store: Store) -> list[dict[str, Any]]:
    """Return rows and bytes of each table. Raises StoreError."""
    rows = store.rows(
        "SELECT table, sum(rows), sum(bytes_on_disk), toUnixTimestamp(min(min_time)) FROM system.parts"
        " WHERE active AND database = currentDatabase() GROUP BY table ORDER BY sum(bytes_on_disk) DESC",
        {},
    )
    return [
        {"table": table, "rows": int(count), "bytes": int(size), "since": int(since)}
        for table, count, size, since in rows
    ]


def largest_orgs(store: Store) -> list[dict[str, Any]]:
    """Return the orgs and projects with the most series of today. Raises StoreError."""
    rows = store.rows(
        "SELECT org_id, project_id, uniqExact(series_id) AS n FROM series"
        " WHERE day = toDate(now('UTC'), 'UTC') GROUP BY org_id, project_id"
        " ORDER BY n DESC, org_id, project_id LIMIT {most:UInt64}",
        {"most": _MAX_ORGS},
    )
    return [{"org": int(org), "project": int(project), "series": int(n)} for org, project, n in rows]


@dataclass(frozen=True, slots=True)
class Beside:
    """Agent and indexer in the same process group: how to ask them, and the agent's settings."""

    agents: Agents
    agent: Callable[[], Mapping[str, Any]]
    settings: AgentSettings


def open_house(
    store: Store,
    catalog: Catalog,
    described: MetadataQueries,
    settings: ShimSettings,
    reloads: ReloadActions,
    beside: Beside | None = None,
) -> House:
    """Return the sources; a reload reads the mapping file again.

    Raises ConfigError for a mapping file, TlsError for certificates.
    """
    explain = LineExplainer(beside.settings if beside else AgentSettings())
    if beside and beside.settings.mapping:
        reloads.add("mapping", explain.reload)
    return House(
        metrics=MetricIndex(store, catalog, described, settings),
        explain=explain,
        agents=beside.agents if beside else RemoteAgents(settings.indexers),
        agent=beside.agent if beside else lambda: _NO_AGENT,
        store=lambda: disk(store),
        orgs=lambda: largest_orgs(store),
        knows_agent=beside is not None,
    )
