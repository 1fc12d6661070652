"""The alerts that wait for one receiver, and the messages that failed: bounded. Pure.

Tenants take turns, and the one with many alerts loses them first: so one tenant's do not displace others'. A
tenant has one message on its way. One whose messages fail is troubled until they are over: its alerts go into
messages of their own, of which few are on their way. So a tenant that a receiver does not take delays itself.

An alert waits while a message that failed has an earlier state of it: states of one alert keep their order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from shim.rules.notify.alert_json import TenantAlert

Key = Callable[[TenantAlert], object]

#: Messages of troubled tenants that are on their way at the same time.
MAX_TROUBLED: Final = 2


@dataclass(slots=True, eq=False)
class NoticeMessage:
    """The alerts of one request. Times are seconds of the sender's clock."""

    alerts: Sequence[TenantAlert]
    failures: int = 0
    first_failed_s: float = 0.0
    due_s: float = 0.0  # no try before
    troubled: bool = False

    @property
    def tenants(self) -> set[str]:
        """The tenants whose alerts it has."""
        return {alert.tenant for alert in self.alerts}

    def halves(self) -> list[NoticeMessage]:
        """Return two messages: one alert that is refused does not take the others along."""
        half = len(self.alerts) // 2
        parts = self.alerts[:half], self.alerts[half:]
        return [NoticeMessage(part, self.failures, self.first_failed_s, self.due_s) for part in parts]


@dataclass(slots=True)
class _Tenant:
    waiting: OrderedDict[object, TenantAlert] = field(default_factory=OrderedDict)
    failed: list[NoticeMessage] = field(default_factory=list)
    length: int = 0  # of both
    is_on_its_way: bool = False  # one of its messages is


@dataclass(slots=True)
class NoticeQueue:
    """`key`: alerts of one key replace each other. `group`: only alerts of one group go into a message.

    `sends_newest`: a later try has the latest states of its alerts, else the very same alerts.
    """

    max_alerts: int
    key: Key
    group: Key
    sends_newest: bool = False
    _tenants: OrderedDict[str, _Tenant] = field(default_factory=OrderedDict)
    _length: int = 0
    _sent: int = 0  # alerts on their way
    _troubled: int = 0  # messages on their way

    def __len__(self) -> int:
        """Return how many alerts wait, or were in a message that failed; none on its way."""
        return self._length

    @property
    def on_their_way(self) -> int:
        """How many alerts are in messages that were taken."""
        return self._sent

    def put(self, alert: TenantAlert) -> int:
        """Add an alert, or replace its older state in place; return how many older ones were dropped."""
        own, key = self._tenants.setdefault(alert.tenant, _Tenant()), self.key(alert)
        self._grow(own, key not in own.waiting)
        own.waiting[key] = alert
        return self._shrink(alert.tenant)

    def take(self, max_batch: int, now_s: float) -> NoticeMessage | None:
        """Remove and return the message to send now, if there is one; `done` or `again` has to follow."""
        free = [name for name, own in self._tenants.items() if not own.is_on_its_way and not own.failed]
        message = self._new_message(free, max_batch)
        if message is None and self._troubled < MAX_TROUBLED:
            message = self._of_troubled(max_batch, now_s)
        if message is None:
            return None
        self._troubled += message.troubled
        self._sent += len(message.alerts)
        for name in message.tenants:
            self._tenants[name].is_on_its_way = True
        self._tenants.move_to_end(message.alerts[0].tenant)
        return message

    def done(self, message: NoticeMessage) -> None:
        """End a message that was taken."""
        self._troubled -= message.troubled
        self._sent -= len(message.alerts)
        for name in message.tenants:
            own = self._tenants[name]
            own.is_on_its_way = False
            if not own.length:
                del self._tenants[name]

    def again(self, message: NoticeMessage, parts: Iterable[NoticeMessage]) -> int:
        """End a message that failed, and keep its parts for later tries, of each tenant alone.

        Returns how many alerts were dropped.
        """
        kept = [(name, part) for part in parts for name in sorted(part.tenants)]
        for name, part in kept:
            own = self._tenants[name]
            alerts = [alert for alert in part.alerts if alert.tenant == name]
            own.failed.append(NoticeMessage(alerts, part.failures, part.first_failed_s, part.due_s))
            self._grow(own, len(alerts))
        self.done(message)
        return sum(self._shrink(name) for name in message.tenants)

    def newest(self, alerts: Sequence[TenantAlert]) -> Sequence[TenantAlert]:
        """Return the later states of alerts, which wait no more; the same ones without `sends_newest`."""
        if not self.sends_newest:
            return alerts
        return [
            self._pop(alert.tenant, key)
            if (key := self.key(alert)) in self._tenants[alert.tenant].waiting
            else alert
            for alert in alerts
        ]

    def next_due_s(self, after_s: float) -> float | None:
        """Return when the next message that failed is due, of those that were not due at `after_s`."""
        failed = (message for own in self._tenants.values() for message in own.failed)
        return min((one.due_s for one in failed if one.due_s > after_s), default=None)

    def _new_message(
        self, tenants: Iterable[str], max_batch: int, *, troubled: bool = False
    ) -> NoticeMessage | None:
        """Remove a batch, the oldest alerts first of one tenant after the other; none is there twice."""
        taken: list[tuple[str, object]] = []
        group: object = None
        for name in tenants:
            if len(taken) == max_batch:
                break
            own = self._tenants[name]
            seen = {alert.labels for message in own.failed for alert in message.alerts}
            for key, alert in own.waiting.items():
                if len(taken) == max_batch:
                    break
                if alert.labels in seen or (taken and self.group(alert) != group):
                    continue
                group = self.group(alert)
                seen.add(alert.labels)
                taken.append((name, key))
        alerts = [self._pop(name, key) for name, key in taken]
        return NoticeMessage(alerts, troubled=troubled) if alerts else None

    def _of_troubled(self, max_batch: int, now_s: float) -> NoticeMessage | None:
        """Remove the next message of a tenant whose messages failed: new alerts, or a message that is due."""
        for name, own in self._tenants.items():
            if own.is_on_its_way or not own.failed:
                continue
            if (new := self._new_message([name], max_batch, troubled=True)) is not None:
                return new
            message = min(own.failed, key=lambda one: one.due_s)
            if message.due_s <= now_s:
                own.failed.remove(message)
                self._grow(own, -len(message.alerts))
                message.alerts, message.troubled = self.newest(message.alerts), True
                return message
        return None

    def _shrink(self, tenant: str) -> int:
        """Drop the oldest alerts of the tenant with the most, until there are few enough; return how many."""
        dropped = 0
        while self._length > self.max_alerts:
            own = self._tenants.get(tenant)
            crowded = tenant
            if own is None or own.length * len(self._tenants) <= self.max_alerts:
                crowded = max(self._tenants, key=lambda name: self._tenants[name].length)
            own = self._tenants[crowded]
            if own.failed:  # its alerts are the oldest
                count = len(own.failed.pop(0).alerts)
                self._grow(own, -count)
                dropped += count
            else:
                self._pop(crowded, next(iter(own.waiting)))
                dropped += 1
            if not own.length and not own.is_on_its_way:
                del self._tenants[crowded]
        return dropped

    def _pop(self, tenant: str, key: object) -> TenantAlert:
        own = self._tenants[tenant]
        self._grow(own, -1)
        return own.waiting.pop(key)

    def _grow(self, own: _Tenant, alerts: int) -> None:
        own.length += alerts
        self._length += alerts
