"""Alerts for the tests of notifications."""

from __future__ import annotations

from shim.model import labels as lb
from shim.rules.alert_sink import AlertNotice
from shim.rules.notify.alert_json import TenantAlert


def notice(
    name: str = "A", *, fired_ms: int = 1_000, resolved_ms: int | None = None, **labels: str
) -> AlertNotice:
    """Return an alert."""
    return AlertNotice(
        labels=lb.make({"alertname": name, **labels}),
        annotations={"summary": f"about {name}"},
        value=1.0,
        active_at_ms=fired_ms,
        fired_at_ms=fired_ms,
        resolved_at_ms=resolved_ms,
        keep_firing_since_ms=None,
        valid_until_ms=fired_ms + 240_000,
        expr="up == 0",
    )


def alert(
    name: str = "A",
    tenant: str = "1:1",
    *,
    fired_ms: int = 1_000,
    resolved_ms: int | None = None,
    **labels: str,
) -> TenantAlert:
    """Return the alert of a tenant."""
    made = notice(name, fired_ms=fired_ms, resolved_ms=resolved_ms, **labels)
    return TenantAlert(tenant, made.labels, made)
