"""The contract between the evaluation of rules and those who tell of alerts. Pure.

After each tick of a group its evaluation hands over all alerts that fire, and those that were resolved in
the last 15 minutes. The sink decides which of them it sends now: its resend delay is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shim.model.labels import Labels
from shim.model.tenancy import Tenant


@dataclass(frozen=True, slots=True)
class AlertNotice:
    """An alert that fires, or was resolved. Times are Unix milliseconds.

    `labels` have the alert's name and the external labels. `valid_until_ms`: it counts as resolved then
    unless it comes again.
    """

    labels: Labels
    annotations: Mapping[str, str]
    value: float
    active_at_ms: int
    fired_at_ms: int
    resolved_at_ms: int | None  # None: it fires
    keep_firing_since_ms: int | None  # since when it fires by `keep_firing_for` alone
    valid_until_ms: int
    expr: str


class AlertSink(Protocol):
    """Tells of alerts. It must not raise, nor wait for receivers: evaluation waits for it."""

    async def send(self, tenant: Tenant, alerts: Sequence[AlertNotice]) -> None:
        """Take the alerts of one group at one tick."""


class NoAlerts:
    """Drops all alerts: no receiver is configured."""

    async def send(self, tenant: Tenant, alerts: Sequence[AlertNotice]) -> None:
        """Do nothing."""
