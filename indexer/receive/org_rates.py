"""Bounds the rates at which an org may write in this process: rows, and new strings.

A rate is a bucket that may go into debt: a frame of any size is accepted while it has no debt, and the next
ones wait until it is paid. So nothing is counted twice: new strings are charged when the store gave them ids,
and no string is looked up for the limit. Thread-safe.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from math import ceil
from typing import TYPE_CHECKING, Final, Literal

from indexer.settings import Limits

if TYPE_CHECKING:
    from indexer.receive.shared_rates import SharedRates

Rated = Literal["rows", "strings"]

#: Beyond this number, full buckets are removed: they equal absent ones.
_MAX_BUCKETS: Final = 10_000
_LONGEST_WAIT_S: Final = 300
_MAX_OTHERS_S: Final = 10


class DebtBucket:
    """Holds `burst` and fills by `rate` per second; a charge may exceed its content."""

    __slots__ = ("_at_s", "_burst", "_level", "_rate")

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at_s = now_s

    def charge(self, amount: float, now_s: float) -> None:
        """Charge `amount`."""
        self._level = self._filled(now_s) - amount
        self._at_s = max(now_s, self._at_s)

    def charge_others(self, amount: float, now_s: float, max_debt_s: float) -> None:
        """Charge `amount`, but for no more than leads to this debt."""
        filled = self._filled(now_s)
        self.charge(min(amount, max(0.0, filled + max_debt_s * self._rate)), now_s)

    def debt_s(self, now_s: float) -> float:
        """Return the seconds of filling that are owed; 0 if the next charge may come."""
        return max(0.0, -self._filled(now_s) / self._rate)

    def full(self, now_s: float) -> bool:
        """Return whether the bucket is full."""
        return self._filled(now_s) >= self._burst

    def _filled(self, now_s: float) -> float:
        return min(self._burst, self._level + max(0.0, now_s - self._at_s) * self._rate)


class OrgRates:
    """The buckets of all orgs. `clock` is monotonic, in seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates: Mapping[Rated, tuple[int, int]] = {
            "rows": (limits.rows_per_s, limits.rows_burst),
            "strings": (limits.strings_per_s, limits.strings_burst),
        }
        self._clock = clock
        self._buckets: dict[tuple[Rated, int], DebtBucket] = {}
        self._lock = threading.Lock()
        self._charged: Counter[tuple[Rated, int]] | None = None

    def note_charges(self) -> None:
        """Record charges from now on, for `take_charges`."""
        self._charged = Counter()

    def take_charges(self) -> Mapping[tuple[Rated, int], int]:
        """Return the charges recorded since the last call, by rate and org."""
        with self._lock:
            charged, self._charged = self._charged or Counter(), Counter()
        return charged

    def charge(self, what: Rated, org_id: int, amount: int, *, here: bool = True) -> None:
        """Charge an org's writes; `here` is false for those at another indexer.

        Those of others are read from Redis, where another program may have written: they make an org wait
        for _MAX_OTHERS_S at most, however many there are.
        """
        rate, burst = self._rates[what]
        if not rate or not amount:
            return
        now_s = self._clock()
        with self._lock:
            bucket = self._buckets.get((what, org_id))
            if bucket is None:
                self._forget_full(now_s)
                bucket = self._buckets[what, org_id] = DebtBucket(rate, burst, now_s)
            if here:
                bucket.charge(amount, now_s)
            else:
                bucket.charge_others(amount, now_s, _MAX_OTHERS_S)
            if here and self._charged is not None and len(self._charged) < _MAX_BUCKETS:
                self._charged[what, org_id] += amount

    def unpaid(self, what: Rated, amount: int, span_s: float) -> int:
        """Return the part of a span's charges that a bucket of an org has not paid by its end."""
        return max(0, amount - int(self._rates[what][0] * span_s))

    def exceeded(self, org_id: int) -> tuple[Rated, int] | None:
        """Return the exceeded rate of an org and the seconds until it may write again, or None."""
        now_s = self._clock()
        with self._lock:
            for what in self._rates:
                bucket = self._buckets.get((what, org_id))
                if bucket is not None and (debt_s := bucket.debt_s(now_s)):
                    return what, min(ceil(debt_s), _LONGEST_WAIT_S)
        return None

    def _forget_full(self, now_s: float) -> None:
        if len(self._buckets) >= _MAX_BUCKETS:
            self._buckets = {k: b for k, b in self._buckets.items() if not b.full(now_s)}


def open_shared_rates(url: str, rates: OrgRates, on_mistake: Callable[[str], None]) -> SharedRates | None:
    """Return the exchange of rates by a Redis; None without one, and then its client is not imported."""
    if not url:
        return None
    from indexer.receive.shared_rates import SharedRates

    return SharedRates(url, rates, on_mistake)
