"""Which alerts are due to be told of, by when they were told of before. Pure.

An alert is due once it fires, once it is resolved, and again after the resend delay. Source: Prometheus 3.x
`rules/alerting.go`, needsSending.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from shim.rules.notify.alert_json import TenantAlert

#: How long an alert that is not handed over any more is remembered, after it is valid no more.
_FORGET_MS: Final = 15 * 60_000
#: Time between two looks for such alerts.
_SWEEP_MS: Final = 5 * 60_000


@dataclass(slots=True)
class _Told:
    sent_ms: int
    until_ms: int  # when it is forgotten
    state: tuple[int, bool]  # when it fired, and whether it is resolved


@dataclass(slots=True)
class ResendBook:
    """`resend_ms`: the pause before the same is told again. `of_resolved`: also of resolved alerts."""

    resend_ms: int
    of_resolved: bool
    _told: dict[object, _Told] = field(default_factory=dict)
    _swept_ms: int = 0

    def due(self, alerts: Iterable[TenantAlert], now_ms: int) -> Iterator[TenantAlert]:
        """Yield the alerts to tell of now, and remember them as told."""
        for alert in alerts:
            key = (alert.tenant, alert.labels)
            state = (alert.notice.fired_at_ms, alert.status == "resolved")
            told = self._told.get(key)
            until_ms = max(now_ms, alert.notice.valid_until_ms) + _FORGET_MS
            if told is None or told.state != state or self._again(told, now_ms):
                self._told[key] = _Told(now_ms, until_ms, state)
                yield alert
            else:
                told.until_ms = until_ms
        if abs(now_ms - self._swept_ms) > _SWEEP_MS:
            self._swept_ms = now_ms
            self._told = {key: told for key, told in self._told.items() if told.until_ms >= now_ms}

    def _again(self, told: _Told, now_ms: int) -> bool:
        _, resolved = told.state
        rests = 0 <= now_ms - told.sent_ms < self.resend_ms  # not after a clock that was ahead is put right
        return (self.of_resolved or not resolved) and not rests
