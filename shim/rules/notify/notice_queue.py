"""The alerts that wait for one receiver: bounded, the latest state of each alert. Pure.

Tenants take turns, and the one with many alerts loses them first: so one tenant's do not displace others'.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from shim.rules.notify.alert_json import TenantAlert

Key = Callable[[TenantAlert], object]


@dataclass(slots=True)
class NoticeQueue:
    """`key`: alerts of one key replace each other. `group`: only alerts of one group go into a batch."""

    max_alerts: int
    key: Key
    group: Key
    _waiting: OrderedDict[str, OrderedDict[object, TenantAlert]] = field(default_factory=OrderedDict)
    _length: int = 0

    def __len__(self) -> int:
        """Return how many alerts wait."""
        return self._length

    def put(self, alert: TenantAlert) -> int:
        """Add an alert, or replace its older state in place; return how many older ones were dropped."""
        own, key = self._waiting.setdefault(alert.tenant, OrderedDict()), self.key(alert)
        self._length += key not in own
        own[key] = alert
        if self._length <= self.max_alerts:
            return 0
        crowded = alert.tenant
        if len(own) * len(self._waiting) <= self.max_alerts:  # not above its share: the largest gives way
            crowded = max(self._waiting, key=lambda tenant: len(self._waiting[tenant]))
        self._pop(crowded, next(iter(self._waiting[crowded])))
        return 1

    def take(self, max_batch: int) -> list[TenantAlert]:
        """Remove and return a batch, the oldest first of one tenant after the other; none is there twice."""
        taken: list[tuple[str, object]] = []
        seen: set[object] = set()
        group: object = None
        for tenant, key, alert in self._in_turn():
            if taken and self.group(alert) != group:
                continue
            if (tenant, alert.labels) in seen:
                continue
            group = self.group(alert)
            seen.add((tenant, alert.labels))
            taken.append((tenant, key))
            if len(taken) == max_batch:
                break
        if taken:
            self._waiting.move_to_end(taken[0][0])
        return [self._pop(tenant, key) for tenant, key in taken]

    def newest(self, batch: Sequence[TenantAlert]) -> list[TenantAlert]:
        """Return a batch with the later states of its alerts, which wait no more."""
        return [
            self._pop(alert.tenant, key)
            if (key := self.key(alert)) in self._waiting.get(alert.tenant, ())
            else alert
            for alert in batch
        ]

    def _in_turn(self) -> Iterator[tuple[str, object, TenantAlert]]:
        for tenant, own in self._waiting.items():
            for key, alert in own.items():
                yield tenant, key, alert

    def _pop(self, tenant: str, key: object) -> TenantAlert:
        own = self._waiting[tenant]
        alert = own.pop(key)
        self._length -= 1
        if not own:
            del self._waiting[tenant]
        return alert
