"""The alerts of a group as they are handed to the sink. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from shim.model import labels as lb
from shim.rules.alert_sink import AlertNotice
from shim.rules.group_evaluation import GroupEvaluation

#: Ticks for which an alert is valid without another one. Source: Prometheus 3.x, sendAlerts.
_VALID_TICKS: Final = 4


def notices(
    evaluation: GroupEvaluation, external: Mapping[str, str], tick_s: int, step_s: int
) -> Sequence[AlertNotice]:
    """Return the alerts that fire, and those that were resolved, with the external labels."""
    valid_until_ms = (tick_s + _VALID_TICKS * step_s) * 1000
    return [
        AlertNotice(
            labels=lb.make({**external, **dict(alert.labels)}),
            annotations=alert.annotations,
            value=alert.value,
            active_at_ms=alert.active_at_ms,
            fired_at_ms=alert.fired_at_ms,
            resolved_at_ms=alert.resolved_at_ms,
            keep_firing_since_ms=alert.keep_firing_since_ms,
            valid_until_ms=valid_until_ms,
            expr=states.rule.text,
        )
        for states in evaluation.states
        if states is not None
        for alert in states.active.values()
        if alert.state != "pending"
    ]
