"""The validators of subscriptions: which queries, windows and resolutions are accepted. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from indexer.subscriptions.messages_of_subscriptions import MAX_WINDOW_S, MIN_RESOLUTION_S, MIN_WINDOW_S
from shim.model.errors import BadData
from shim.model.tenancy import Tenant
from shim.snql.entities import entity_of, names_of
from shim.snql.lower import Asked, lower
from shim.snql.lowered import Lowered
from shim.snql.parser import parse_snql
from shim.snql.syntax import SnqlQuery

MAX_AGGREGATIONS: Final = 3
#: Two ends of windows at which a query is planned: one with a time of its own fits at most one of them.
_PROBES_S: Final = (20_000 * 86_400, 20_001 * 86_400)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A subscription that is asked for. `asked`: the tenant and dataset of the request."""

    entity: str
    query: str
    time_window_s: int
    resolution_s: int
    asked: Asked


def check(wanted: Wanted, max_bytes: int) -> Tenant:
    """Return whose data the subscription reads. Raises BadData, Forbidden."""
    _check_range("time_window", wanted.time_window_s, MIN_WINDOW_S, MAX_WINDOW_S)
    _check_range("resolution", wanted.resolution_s, MIN_RESOLUTION_S, MAX_WINDOW_S)
    query = parse_snql(wanted.query, max_bytes)
    _check_clauses(query)
    _check_entity(wanted, query)
    for probe_s in _PROBES_S:
        plan = lower(wanted.query, query, at_tick(wanted.asked, probe_s, wanted.time_window_s))
        _check_plan(wanted, plan, probe_s)
    return plan.tenant


def at_tick(asked: Asked, tick_s: int, time_window_s: int) -> Asked:
    """Return the request of one tick: it reads the window that ends there."""
    return replace(asked, now_s=tick_s, from_s=tick_s - time_window_s, to_s=tick_s)


def _check_range(name: str, value: int, min_: int, max_: int) -> None:
    if not min_ <= value <= max_:
        raise BadData(f"{name} = {value}: expected {min_} to {max_} seconds")


def _check_clauses(query: SnqlQuery) -> None:
    for name, given in (("HAVING", query.having is not None), ("ORDER BY", bool(query.order_by))):
        if given:
            raise BadData(f"{name}: expected a subscription's query without it")


def _check_entity(wanted: Wanted, query: SnqlQuery) -> None:
    names = names_of(wanted.asked.dataset)
    if wanted.entity not in names:
        raise BadData(f'entity "{wanted.entity}": expected one of {", ".join(names)}')
    source = query.source
    of_query = entity_of(source.name, is_table=source.is_table) if source is not None else None
    if of_query is None or of_query.name != wanted.entity:
        raise BadData(f"the query's entity: expected MATCH ({wanted.entity}), which the path names")
    if of_query.meta:
        raise BadData(f"{wanted.entity} has no column of time: expected an entity with timestamp")


def _check_plan(wanted: Wanted, plan: Lowered, probe_s: int) -> None:
    aggregations = len(plan.slots)
    if not 1 <= aggregations <= MAX_AGGREGATIONS:
        raise BadData(f"{aggregations} aggregations: expected 1 to {MAX_AGGREGATIONS}")
    granularity_s = plan.span.granularity_s
    for name, value in (("time_window", wanted.time_window_s), ("resolution", wanted.resolution_s)):
        if value % granularity_s:
            raise BadData(
                f"{name} = {value}: expected a multiple of the query's granularity, {granularity_s} seconds"
            )
    if (plan.span.lo_s, plan.span.hi_s) != (probe_s - wanted.time_window_s, probe_s):
        raise BadData("a condition on time: expected none, as time_window says which buckets are read")
