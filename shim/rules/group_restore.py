"""The state of a group that an earlier process stored: its last tick, its series then, its alerts.

The state of alerts is that of ALERTS, ALERTS_FOR_STATE and ALERTS_KEEP_FIRING_SINCE at the last tick. Time in
which nothing was evaluated does not count as pending. Alerts that were resolved are restored, too
(resolved_alerts.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from shim.engine.api import QueryOptions
from shim.model import labels as lb
from shim.model.labels import Labels
from shim.model.messages import format_labels, quote
from shim.rules.alert_states import (
    FOR_STATE,
    KEEP_FIRING_SINCE,
    ActiveAlert,
    alert_labels,
    is_of_another,
    rule_labels,
)
from shim.rules.memory_samples import MemorySamples
from shim.rules.recorded_messages import GROUP, LAST_TICK, PROJECT
from shim.rules.resolved_alerts import restore_resolved
from shim.rules.rule_file import AlertingRule, RecordingRule, Rule
from shim.rules.store_queries import StoreQueries
from shim.rules.tenant_group import TenantGroup

_MAX_LOOKBACK_S: Final = 7 * 86_400


async def restore(of: TenantGroup) -> int | None:
    """Restore the state of a group; return its last tick, None if none is known. Raises QueryError."""
    queries = StoreQueries.of_tick(of.parts.place, of.tenant, MemorySamples())
    now_ms = int(of.parts.now_s() * 1000)
    lookback_s = min(of.parts.settings.max_late_ticks * of.step_s, _MAX_LOOKBACK_S)
    lookback_s = max(lookback_s, round(of.parts.settings.outage_tolerance_s))
    found = await queries.ask(
        f"{LAST_TICK}{{{GROUP}={quote(of.name)}}}",
        now_ms,
        QueryOptions(timeout_s=of.parts.place.timeout_s, lookback_ms=lookback_s * 1000),
    )
    own = _own_project(of)
    ticks = [v for labels, v in found if v * 1000 <= now_ms and lb.get(labels, PROJECT) in ("", own)]
    if not ticks:
        return None
    last_s = int(max(ticks))
    at_ms = last_s * 1000 - of.group.query_offset_ms
    alive = now_ms - last_s * 1000 <= of.parts.settings.outage_tolerance_s * 1000
    next_s = of.schedule.last_at(int(of.parts.now_s()))
    missed_ms = max(0, next_s - last_s - of.step_s) * 1000
    for number, rule in enumerate(of.group.rules):
        if number not in of.unique:
            continue
        if isinstance(rule, RecordingRule):
            if not rule.records_deltas:
                of.evaluation.before[number] = await _series(of, queries, rule.name, rule, at_ms)
        else:
            of.evaluation.before[number] = await _series(of, queries, "ALERTS", rule, at_ms)
            if alive:
                await _alerts(of, number, rule, queries, at_ms, missed_ms)
    await restore_resolved(of, queries, last_s)
    return last_s


def _own_project(of: TenantGroup) -> str:
    """Return the project in which an org's group says its last tick: those of projects may have its name."""
    return str(of.parts.settings.org_project_id) if of.tenant.project_id is None else ""


async def _series(of: TenantGroup, queries: StoreQueries, name: str, rule: Rule, at_ms: int) -> set[Labels]:
    """Return the series that a rule had at its last tick."""
    names = [name] if name != "ALERTS" else [name, FOR_STATE, KEEP_FIRING_SINCE]
    found: set[Labels] = set()
    for one in names:
        found |= {labels for labels, _ in await queries.ask(_selector(one, rule), at_ms)}
    return {labels for labels in found if not is_of_another(labels, rule, of.group.rules)}


async def _alerts(
    of: TenantGroup, number: int, rule: AlertingRule, queries: StoreQueries, at_ms: int, missed_ms: int
) -> None:
    states = of.evaluation.states[number]
    if states is None or not of.evaluation.before[number]:
        return
    latest_s = at_ms / 1000 + of.group.query_offset_ms / 1000
    active, keep = [
        {
            alert_labels(labels): value
            for labels, value in await queries.ask(_selector(name, rule), at_ms)
            if 0 <= value <= latest_s  # other senders can write these names
            and not is_of_another(labels, rule, of.group.rules)
        }
        for name in (FOR_STATE, KEEP_FIRING_SINCE)
    ]
    state_of = {
        alert_labels(labels): lb.get(labels, "alertstate")
        for labels in of.evaluation.before[number]
        if lb.get(labels, lb.NAME) == "ALERTS"
    }
    for labels, since_s in active.items():
        states.restore(
            restored_alert(rule, labels, state_of.get(labels, "pending"), since_s, keep, missed_ms)
        )


def restored_alert(
    rule: AlertingRule,
    labels: Labels,
    state: str,
    since_s: float,
    keep: Mapping[Labels, float],
    missed_ms: int,
) -> ActiveAlert:
    """Return an alert as it was stored; `missed_ms` without evaluation do not count as pending."""
    active_ms = int(since_s) * 1000
    alert = ActiveAlert(labels, {}, math.nan, active_ms)
    if state != "firing":
        return replace(alert, active_at_ms=active_ms + missed_ms)
    keep_ms = int(keep[labels]) * 1000 if labels in keep else None
    return replace(alert, state="firing", fired_at_ms=active_ms + rule.for_ms, keep_firing_since_ms=keep_ms)


def _selector(name: str, rule: Rule) -> str:
    """Return a selector of the series of a rule."""
    return format_labels(lb.make({**rule_labels(rule), lb.NAME: name}))
