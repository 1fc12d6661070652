"""Alerts as JSON: for Alertmanager's API v2, and as the body of Alertmanager's webhooks (version 4). Pure.

Source: Alertmanager 0.25, `api/v2/openapi.yaml`, `template.Data` and `model.LabelSet.Fingerprint`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote_plus

import msgspec

from shim.model.labels import Labels
from shim.rules.alert_sink import AlertNotice

ALERT_NAME: Final = "alertname"
_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3
_MASK: Final = (1 << 64) - 1
#: Characters that no name of a label has.
_ILLEGAL: Final = re.compile(r"^[0-9]|[^a-zA-Z0-9_]")
#: The end of an alert that fires, in a webhook. Source: Go's zero time.
_NO_END: Final = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class TenantAlert:
    """An alert to tell of; `labels` are those that receivers see."""

    tenant: str
    labels: Labels
    notice: AlertNotice

    @property
    def status(self) -> str:
        """`firing` or `resolved`."""
        return "firing" if self.notice.resolved_at_ms is None else "resolved"

    @property
    def name(self) -> str:
        """The alert's name."""
        return dict(self.labels).get(ALERT_NAME, "")


def for_alertmanager(alerts: Iterable[TenantAlert], external_url: str) -> bytes:
    """Return the body of `POST /api/v2/alerts`."""
    return msgspec.json.encode([_posted(alert, external_url) for alert in alerts])


def for_webhook(alerts: Sequence[TenantAlert], external_url: str) -> bytes:
    """Return the body of a webhook; all alerts have one tenant and one name."""
    name = alerts[0].name
    fires = any(alert.status == "firing" for alert in alerts)
    return msgspec.json.encode(
        {
            "version": "4",
            "groupKey": f'{{}}/{alerts[0].tenant}:{{alertname="{_text(name)}"}}',
            "truncatedAlerts": 0,
            "status": "firing" if fires else "resolved",
            "receiver": "meterhouse",
            "groupLabels": {ALERT_NAME: _text(name)},
            "commonLabels": _legal(_common([dict(alert.labels) for alert in alerts])),
            "commonAnnotations": _legal(_common([alert.notice.annotations for alert in alerts])),
            "externalURL": external_url,
            "alerts": [_received(alert, external_url) for alert in alerts],
        }
    )


def message_id(alerts: Iterable[TenantAlert]) -> str:
    """Return the id of a message: the same for the same alerts in the same states."""
    parts = sorted(
        f"{alert.tenant}/{fingerprint(alert.labels)}/{alert.notice.fired_at_ms}/{alert.notice.resolved_at_ms}"
        for alert in alerts
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def fingerprint(labels: Labels) -> str:
    """Return Alertmanager's identity of an alert: FNV-1a over its sorted labels."""
    total = _FNV_OFFSET
    for name, value in sorted(labels):
        for byte in b"%b\xff%b\xff" % (name.encode(), value.encode(errors="replace")):
            total = (total ^ byte) * _FNV_PRIME & _MASK
    return f"{total:016x}"


def rfc3339(time_ms: int) -> str:
    """Return a time as Alertmanager reads it."""
    return (
        datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def generator_url(external_url: str, expr: str) -> str:
    """Return the page that shows an expression as a table."""
    return f"{external_url.rstrip('/')}/graph?g0.expr={quote_plus(expr)}&g0.tab=1"


def _legal(pairs: Mapping[str, str]) -> dict[str, str]:
    """Return pairs that Alertmanager takes: it refuses a whole request for one other name."""
    changed = {_ILLEGAL.sub("_", name): name for name in pairs}
    changed |= {name: name for name in pairs if name in changed}  # none takes the place of the tenant's
    return {legal: _text(pairs[name]) for legal, name in changed.items()}


def _text(value: str) -> str:
    return value.encode(errors="replace").decode()


def _posted(alert: TenantAlert, external_url: str) -> dict[str, Any]:
    notice = alert.notice
    ends_ms = notice.valid_until_ms if notice.resolved_at_ms is None else notice.resolved_at_ms
    return {
        "labels": _legal(dict(alert.labels)),
        "annotations": _legal(notice.annotations),
        "startsAt": rfc3339(notice.fired_at_ms),
        "endsAt": rfc3339(ends_ms),
        "generatorURL": generator_url(external_url, notice.expr),
    }


def _received(alert: TenantAlert, external_url: str) -> dict[str, Any]:
    end_ms = alert.notice.resolved_at_ms
    return _posted(alert, external_url) | {
        "status": alert.status,
        "endsAt": _NO_END if end_ms is None else rfc3339(end_ms),
        "fingerprint": fingerprint(alert.labels),
    }


def _common(tables: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the pairs that all tables have."""
    first, *others = tables
    return {k: v for k, v in first.items() if all(other.get(k) == v for other in others)}
