"""The alerts that wait for one receiver: bounded, the latest state of each alert. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shim.rules.notify.alert_json import TenantAlert

Key = Callable[[TenantAlert], object]


@dataclass(slots=True)
class NoticeQueue:
    """`key`: alerts of one key replace each other. `group`: only alerts of one group go into a batch."""

    max_alerts: int
    key: Key
    group: Key
    _waiting: OrderedDict[object, TenantAlert] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        """Return how many alerts wait."""
        return len(self._waiting)

    def put(self, alert: TenantAlert) -> int:
        """Add an alert, or replace its older state in place; return how many of the oldest were dropped."""
        self._waiting[self.key(alert)] = alert
        dropped = max(0, len(self._waiting) - self.max_alerts)
        for _ in range(dropped):
            self._waiting.popitem(last=False)
        return dropped

    def take(self, max_batch: int) -> list[TenantAlert]:
        """Remove and return a batch, the oldest first; no alert is there twice."""
        keys: list[object] = []
        seen: set[object] = set()
        group: object = None
        for key, alert in self._waiting.items():
            if keys and self.group(alert) != group:
                continue
            if (alert.tenant, alert.labels) in seen:
                continue
            group = self.group(alert)
            seen.add((alert.tenant, alert.labels))
            keys.append(key)
            if len(keys) == max_batch:
                break
        return [self._waiting.pop(key) for key in keys]

    def newest(self, batch: Sequence[TenantAlert]) -> list[TenantAlert]:
        """Return a batch with the later states of its alerts, which wait no more."""
        return [self._waiting.pop(self.key(alert), alert) for alert in batch]
