"""The alerts of one alerting rule from tick to tick: pending, firing, resolved. Pure.

Source: Prometheus 3.x `rules/alerting.go`, AlertingRule.Eval.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from shim.model import labels as lb
from shim.model.errors import ExecutionError
from shim.model.labels import Labels
from shim.rules.rule_file import AlertingRule, Rule

#: How long a resolved alert is remembered.
RESOLVED_MS: Final = 15 * 60_000

#: Names of series: when an alert became active, and since when it fires by `keep_firing_for` alone.
FOR_STATE: Final = "ALERTS_FOR_STATE"
KEEP_FIRING_SINCE: Final = "ALERTS_KEEP_FIRING_SINCE"
_OWN_LABELS: Final = frozenset({lb.NAME, "alertstate"})

AlertState = Literal["inactive", "pending", "firing"]


@dataclass(slots=True)
class ActiveAlert:
    """One alert; an inactive one is resolved."""

    labels: Labels
    annotations: Mapping[str, str]
    value: float
    active_at_ms: int
    state: AlertState = "pending"
    fired_at_ms: int = 0
    resolved_at_ms: int | None = None
    keep_firing_since_ms: int | None = None


@dataclass(slots=True)
class AlertStates:
    """The alerts of one rule by their labels."""

    rule: AlertingRule
    active: dict[Labels, ActiveAlert] = field(default_factory=dict)

    def update(
        self, found: Mapping[Labels, ActiveAlert], now_ms: int, limit: int, max_resolved: int = 0
    ) -> None:
        """Take the alerts of a tick. Raises ExecutionError for more than `limit`; 0: no limit.

        Of resolved alerts the latest `max_resolved` are remembered; 0: all.
        """
        for labels, alert in found.items():
            known = self.active.get(labels)
            if known is not None and known.state != "inactive":
                known.value, known.annotations = alert.value, alert.annotations
            else:
                self.active[labels] = alert
        for labels, alert in list(self.active.items()):
            if labels not in found:
                self._missing(labels, alert, now_ms)
                continue
            alert.keep_firing_since_ms = None
            if alert.state == "pending" and now_ms - alert.active_at_ms >= self.rule.for_ms:
                alert.state, alert.fired_at_ms = "firing", now_ms
        if max_resolved:
            self._forget(max_resolved)
        count = sum(alert.state != "inactive" for alert in self.active.values())
        if limit and count > limit:
            self.active.clear()
            raise ExecutionError(f"exceeded limit of {limit} with {count} alerts")

    def _forget(self, max_resolved: int) -> None:
        resolved = [labels for labels, alert in self.active.items() if alert.state == "inactive"]
        if len(resolved) > max_resolved:
            resolved.sort(key=lambda labels: self.active[labels].resolved_at_ms or 0)
            for labels in resolved[:-max_resolved]:
                del self.active[labels]

    def _missing(self, labels: Labels, alert: ActiveAlert, now_ms: int) -> None:
        if alert.state == "firing" and self.rule.keep_firing_for_ms:
            if alert.keep_firing_since_ms is None:
                alert.keep_firing_since_ms = now_ms
            if now_ms - alert.keep_firing_since_ms < self.rule.keep_firing_for_ms:
                return
        forgotten = alert.resolved_at_ms is not None and now_ms - alert.resolved_at_ms > RESOLVED_MS
        if alert.state == "pending" or forgotten:
            del self.active[labels]
        if alert.state != "inactive":
            alert.state, alert.resolved_at_ms = "inactive", now_ms

    def firing(self) -> list[ActiveAlert]:
        """Return the alerts that fire."""
        return [alert for alert in self.active.values() if alert.state == "firing"]

    def series(self) -> Iterator[tuple[Labels, float]]:
        """Yield the samples of ALERTS and ALERTS_FOR_STATE."""
        for alert in self.active.values():
            if alert.state != "inactive":
                shown = {**dict(alert.labels), lb.NAME: "ALERTS", "alertstate": alert.state}
                yield lb.make(shown), 1.0
                yield lb.changed(alert.labels, lb.NAME, FOR_STATE), float(alert.active_at_ms // 1000)
            if alert.state == "firing" and alert.keep_firing_since_ms is not None:
                since_s = alert.keep_firing_since_ms // 1000
                yield lb.changed(alert.labels, lb.NAME, KEEP_FIRING_SINCE), float(since_s)

    def restore(self, alert: ActiveAlert) -> None:
        """Take over an alert of an earlier process, unless it is known."""
        self.active.setdefault(alert.labels, alert)


def alert_labels(labels: Labels) -> Labels:
    """Return the labels of an alert from those of its series ALERTS."""
    return tuple(pair for pair in labels if pair[0] not in _OWN_LABELS)


def rule_labels(rule: Rule) -> Mapping[str, str]:
    """Return the labels that all series of a rule have: those that are not templates."""
    if isinstance(rule, AlertingRule):
        fixed = {k: v for k, v in rule.labels.items() if "{{" not in v and v}
        return {**fixed, "alertname": rule.name}
    return {k: v for k, v in rule.stored_labels.items() if v}


def is_of_another(labels: Labels, rule: Rule, rules: Iterable[Rule]) -> bool:
    """Return whether series that have the labels of a rule are those of another, which has more labels."""
    own, found = rule_labels(rule).items(), dict(labels).items()
    return any(
        other.name == rule.name and type(other) is type(rule) and own < rule_labels(other).items() <= found
        for other in rules
    )
