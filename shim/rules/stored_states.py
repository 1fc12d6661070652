"""The alerts of groups that another shim evaluates, as it stored them: for the API of this one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shim.model import labels as lb
from shim.model.errors import QueryError
from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.rules.alert_states import FOR_STATE, KEEP_FIRING_SINCE, alert_labels, rule_labels
from shim.rules.group_evaluation import GroupEvaluation, RuleHealth
from shim.rules.group_restore import restored_alert
from shim.rules.group_runner import GroupRunner
from shim.rules.memory_samples import MemorySamples
from shim.rules.recorded_messages import GROUP, LAST_TICK
from shim.rules.rule_file import AlertingRule
from shim.rules.rule_queries import InstantVector
from shim.rules.store_queries import StoreQueries


@dataclass(slots=True)
class _Stored:
    """The series of one tenant's alerts and groups now."""

    states: dict[Labels, str] = field(default_factory=dict)
    active: dict[Labels, float] = field(default_factory=dict)
    keep: dict[Labels, float] = field(default_factory=dict)
    last_ticks: dict[str, float] = field(default_factory=dict)


async def stored_evaluations(
    runners: Iterable[GroupRunner],
) -> Mapping[tuple[Tenant, str], GroupEvaluation]:
    """Return the state of each group by tenant and name, without values and annotations of alerts."""
    of_tenant: dict[Tenant, list[GroupRunner]] = {}
    for runner in runners:
        of_tenant.setdefault(runner.tenant, []).append(runner)
    found: dict[tuple[Tenant, str], GroupEvaluation] = {}
    for tenant, some in of_tenant.items():
        stored = await _read(tenant, some)
        found |= await asyncio.to_thread(_evaluations, tenant, some, stored)
    return found


def _evaluations(
    tenant: Tenant, runners: Sequence[GroupRunner], stored: _Stored
) -> Mapping[tuple[Tenant, str], GroupEvaluation]:
    by_name: dict[str, list[Labels]] = {}
    for labels in filter(stored.active.__contains__, stored.states):
        by_name.setdefault(lb.get(labels, "alertname"), []).append(labels)
    return {(tenant, runner.name): _evaluation(runner, stored, by_name) for runner in runners}


async def _read(tenant: Tenant, runners: Sequence[GroupRunner]) -> _Stored:
    """Read the series of a tenant; none where the store does not answer."""
    parts = runners[0].parts
    queries = StoreQueries.of_tick(parts.place, tenant, MemorySamples())
    now_ms = int(parts.now_s() * 1000)
    stored = _Stored()

    async def ask(name: str) -> InstantVector:
        found = await queries.ask(name, now_ms)
        # other senders can write these names: a time that is none could not be shown
        return [(labels, value) for labels, value in found if 0 <= value * 1000 <= now_ms]

    try:
        stored.last_ticks = {lb.get(labels, GROUP): tick for labels, tick in await ask(LAST_TICK)}
        shown = await ask("ALERTS")
        stored.states = {alert_labels(labels): lb.get(labels, "alertstate") for labels, _ in shown}
        stored.active = {alert_labels(labels): since_s for labels, since_s in await ask(FOR_STATE)}
        stored.keep = {alert_labels(labels): since_s for labels, since_s in await ask(KEEP_FIRING_SINCE)}
    except QueryError:
        return stored
    return stored


def _evaluation(
    runner: GroupRunner, stored: _Stored, by_name: Mapping[str, Sequence[Labels]]
) -> GroupEvaluation:
    made = GroupEvaluation(runner.group, runner.parts.external)
    tick_ms = int(stored.last_ticks.get(runner.name, 0)) * 1000
    made.health = [RuleHealth(tick_ms=tick_ms) for _ in runner.group.rules]
    for rule, states in zip(runner.group.rules, made.states, strict=True):
        if states is None or not isinstance(rule, AlertingRule):
            continue
        own = rule_labels(rule).items()
        for labels in by_name.get(rule.name, ()):
            if own <= dict(labels).items():
                state = stored.states[labels]
                states.restore(restored_alert(rule, labels, state, stored.active[labels], stored.keep, 0))
    return made
