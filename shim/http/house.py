"""Endpoints for the web page about the product itself: all metrics, the fate of a line, the server's state.

Below `/api/v1/meterhouse/`, with tenancy as everywhere: agents of other orgs are not shown. The numbers of
the store and of the agent beside the API are of the whole server, so only single-tenant mode shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from agent.cli.explain import WORDS
from agent.cli.line_explainer import ExplainedText
from agent.protocol.line import Reason
from shim.catalog.metric_index import MetricIndex
from shim.http.context import CONTEXT
from shim.http.params import time_ms
from shim.http.request import in_slot, params_of, tenant_of
from shim.http.responses import TRUNCATED, answer
from shim.http.status import sees_server
from shim.model.errors import BadData
from shim.model.tenancy import Tenant

#: Metrics of one answer; further ones are left out, with a warning.
MAX_METRICS: Final = 20_000
#: Characters of the lines of one request.
MAX_TEXT: Final = 65_536
#: Shown to tenants of others for each indexer that did not answer: its address is the operator's.
_HIDDEN: Final = "only the operator sees why"
#: Reasons of refused lines in words.
_REASONS: Final = {reason.value: WORDS[reason] for reason in Reason}


@dataclass(frozen=True, slots=True)
class House:
    """Sources of this process beside the tables; every function may block.

    `agents`: those of a tenant, and the indexers that did not answer. `agent`: numbers of the agent beside
    this process, and why there are none. `store`: rows and bytes on disk by table. `orgs`: the orgs and
    projects with the most series of today.
    """

    metrics: MetricIndex
    explain: Callable[[str], ExplainedText]
    agents: Callable[[Tenant], tuple[Sequence[Mapping[str, Any]], Sequence[str]]]
    agent: Callable[[], Mapping[str, Any]]
    store: Callable[[], Sequence[Mapping[str, Any]]]
    orgs: Callable[[], Sequence[Mapping[str, Any]]]
    #: Whether lines are read with the settings and mapping of an agent, not with the defaults.
    knows_agent: bool = False


HOUSE: Final = web.AppKey("house", House)


async def metrics(request: web.Request) -> web.Response:
    """Answer with all metrics and their series of today, or the time of the latest data of one (`metric`)."""
    context, tenant, house = request.app[CONTEXT], tenant_of(request), request.app[HOUSE]
    given = await params_of(request)
    if name := given.get("metric"):
        seen = await in_slot(context, tenant, lambda: house.metrics.last_seen(tenant, name))
        return answer({"name": name, "lastSeen": seen})
    now_ms = context.now_ms()
    start_ms, end_ms = time_ms(given, "start", now_ms), time_ms(given, "end", now_ms)
    found = await in_slot(context, tenant, lambda: house.metrics.all(tenant, start_ms, max(start_ms, end_ms)))
    return answer(found[:MAX_METRICS], warnings=[TRUNCATED] if len(found) > MAX_METRICS else [])


async def lines(request: web.Request) -> web.Response:
    """Answer how an agent reads the lines of `lines`; nothing is stored.

    The entries of a mapping file may be about other tenants' metrics, so only the operator sees them.
    """
    context, tenant, house = request.app[CONTEXT], tenant_of(request), request.app[HOUSE]
    text = (await params_of(request)).get("lines")
    if len(text) > MAX_TEXT:
        raise BadData(f"lines: expected at most {MAX_TEXT} characters")
    found, left_out = await in_slot(context, tenant, lambda: house.explain(text))
    if not sees_server(request):
        found = [msgspec.structs.replace(one, mapping=None) for one in found]
    shown = {"lines": msgspec.to_builtins(found), "leftOut": left_out, "ownAgent": house.knows_agent}
    return answer(shown)


def _whole(house: House) -> dict[str, Any]:
    """Return the numbers of the whole server."""
    return {"agent": house.agent(), "store": house.store(), "orgs": house.orgs()}


async def state(request: web.Request) -> web.Response:
    """Answer with agents, and in single-tenant mode with the store and the agent beside this process."""
    context, tenant, house = request.app[CONTEXT], tenant_of(request), request.app[HOUSE]
    alone, operator = context.settings.tenancy.mode == "single", sees_server(request)

    def look() -> dict[str, Any]:
        agents, found = house.agents(tenant)
        silent = found if operator else [_HIDDEN] * len(found)
        shown: dict[str, Any] = {"agents": agents, "indexersNotReached": silent, "reasons": _REASONS}
        return shown | (_whole(house) if alone else {})

    retention = msgspec.to_builtins(context.retention())
    return answer(await in_slot(context, tenant, look) | {"retention": retention})
