"""The alerts that an earlier process saw resolved: they are told of once more, as it may not have done so.

Their end is that of their series ALERTS. Values and annotations are those of the last tick at which they
fired, which is evaluated again. Source of the time: Prometheus 3.x sends resolved alerts for 15 minutes.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from shim.model.durations import format_duration
from shim.model.errors import Canceled, QueryError, Unavailable
from shim.model.labels import Labels
from shim.model.messages import quote
from shim.model.values import Samples
from shim.rules.alert_states import (
    FOR_STATE,
    KEEP_FIRING_SINCE,
    RESOLVED_MS,
    ActiveAlert,
    alert_labels,
    is_of_another,
    rule_labels,
)
from shim.rules.rule_file import AlertingRule
from shim.rules.store_queries import StoreQueries
from shim.rules.tenant_group import TenantGroup

_log: Final = logging.getLogger("shim.rules")

#: Ticks of one rule that are evaluated again, the latest; alerts of further ones have no annotations.
_MAX_TICKS: Final = 16


@dataclass(frozen=True, slots=True)
class _Ended:
    """The series of alerts of a group up to its last tick. Times are those of ticks, in ms."""

    fired_ms: Mapping[Labels, int]  # the last tick at which each fired
    active_ms: Mapping[Labels, int]
    keep_ms: Mapping[Labels, int]


async def restore_resolved(of: TenantGroup, queries: StoreQueries, last_s: int) -> None:
    """Add the alerts that were resolved in the last 15 minutes to a group's states. Raises QueryError."""
    now_ms = int(of.parts.now_s() * 1000)
    names = sorted({rule.name for _, rule in _rules(of)})
    since_ms = now_ms - RESOLVED_MS
    if not names or last_s * 1000 <= since_ms:
        return
    ended = await _ended(of, queries, names, last_s, since_ms)
    for number, rule in _rules(of):
        states = of.evaluation.states[number]
        fixed = rule_labels(rule).items()
        own = {
            labels: fired_ms + of.step_s * 1000
            for labels, fired_ms in ended.fired_ms.items()
            if states is not None
            and labels not in states.active
            and fixed <= dict(labels).items()
            and not is_of_another(labels, rule, of.group.rules)
        }
        alerts = {
            labels: _resolved_alert(rule, labels, resolved_ms, ended)
            for labels, resolved_ms in own.items()
            if since_ms < resolved_ms <= last_s * 1000
        }
        if states is not None and alerts:
            await _annotate(of, number, queries, alerts, ended)
            for alert in alerts.values():
                states.restore(alert)


def _rules(of: TenantGroup) -> Sequence[tuple[int, AlertingRule]]:
    return [
        (number, rule)
        for number, rule in enumerate(of.group.rules)
        if isinstance(rule, AlertingRule) and number in of.unique
    ]


async def _ended(
    of: TenantGroup, queries: StoreQueries, names: Sequence[str], last_s: int, since_ms: int
) -> _Ended:
    """Read the series of alerts since a time. Other senders can write these names, too."""
    offset_ms = of.group.query_offset_ms
    window_ms = last_s * 1000 - since_ms + of.step_s * 1000
    rules = f"alertname=~{quote('|'.join(map(re.escape, names)))}"
    window = f"[{format_duration(window_ms)}]"
    at_ms = last_s * 1000 - offset_ms
    found = await queries.samples(f'ALERTS{{alertstate="firing",{rules}}}{window}', at_ms)
    fired = {labels: time_ms + offset_ms for labels, (time_ms, _) in _last(found).items()}
    if not any(fired_ms < last_s * 1000 for fired_ms in fired.values()):
        return _Ended({}, {}, {})
    active, keep = [
        {
            labels: int(value) * 1000
            for labels, (_, value) in _last(
                await queries.samples(f"{name}{{{rules}}}{window}", at_ms)
            ).items()
            if 0 <= value <= last_s
        }
        for name in (FOR_STATE, KEEP_FIRING_SINCE)
    ]
    return _Ended(fired, active, keep)


def _last(of: Samples) -> Mapping[Labels, tuple[int, float]]:
    """Return the time and the value of each alert's last sample."""
    return {
        alert_labels(labels): (int(of.times_ms[end - 1]), float(of.values[end - 1]))
        for labels, begin, end in zip(of.labels, of.offsets[:-1], of.offsets[1:], strict=True)
        if end > begin
    }


def _resolved_alert(rule: AlertingRule, labels: Labels, resolved_ms: int, ended: _Ended) -> ActiveAlert:
    """Return a resolved alert as it was stored, without value and annotations."""
    fired_ms = ended.fired_ms[labels]
    active_ms = ended.active_ms.get(labels, fired_ms)
    return ActiveAlert(
        labels,
        {},
        math.nan,
        active_ms,
        state="inactive",
        fired_at_ms=min(active_ms + rule.for_ms, fired_ms),
        resolved_at_ms=resolved_ms,
        keep_firing_since_ms=ended.keep_ms.get(labels),
    )


async def _annotate(
    of: TenantGroup, number: int, queries: StoreQueries, alerts: dict[Labels, ActiveAlert], ended: _Ended
) -> None:
    """Evaluate the rule at the last ticks at which it yielded the alerts. Raises Canceled, Unavailable."""
    ticks: dict[int, list[Labels]] = {}
    for labels, alert in alerts.items():
        kept_ms = alert.keep_firing_since_ms
        at_ms = ended.fired_ms[labels] if kept_ms is None else kept_ms - of.step_s * 1000
        ticks.setdefault(at_ms, []).append(labels)
    for tick_ms in sorted(ticks, reverse=True)[:_MAX_TICKS]:
        try:
            found = await of.evaluation.alerts_at(number, queries, tick_ms)
        except (Canceled, Unavailable):
            raise
        except QueryError as e:
            _log.warning("event=resolved_alerts_without_annotations group=%s error=%s", of.key, e)
            return
        for labels in ticks[tick_ms]:
            if (then := found.get(labels)) is not None:
                alerts[labels] = replace(alerts[labels], annotations=then.annotations, value=then.value)
