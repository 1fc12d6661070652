"""Shares rates of orgs between all indexers of one Redis: each charges the others' writes, too.

One hash per org and minute; every EXCHANGE_S seconds an exchange for the orgs that wrote here, in its own
thread: nothing waits for it. While Redis is down or slow, each indexer counts for itself. Coarse on purpose:
an org may write that long at the limit of each indexer.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from redis.exceptions import ResponseError

from indexer.intern.redis_client import open_redis
from indexer.intern.redis_faults import REDIS_ERRORS, RedisFault, redis_fault
from indexer.receive.org_rates import OrgRates, Rated

#: Seconds between two exchanges.
EXCHANGE_S: Final = 1.0
_MINUTE_S: Final = 60
_KEPT_S: Final = 3 * _MINUTE_S
#: Seconds without exchanges after Redis failed.
_REST_S: Final = 5.0


class _Key(NamedTuple):
    what: Rated
    org_id: int


class SharedRates:
    """Exchanges the charges of `rates`. `now_s` is the wall clock."""

    def __init__(
        self,
        url: str,
        rates: OrgRates,
        *,
        timeout_s: float = 0.25,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._redis = open_redis(url, timeout_s)
        self._rates = rates
        self._prefix = "rates:"
        self._now_s = now_s
        #: Failed exchanges, and keys that Redis refused, by reason.
        self.faults: Counter[RedisFault] = Counter()
        self._minute = 0
        self._seen: Counter[_Key] = Counter()  # of this minute: added here, and charged for others
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="indexer-rates", daemon=True)

    def start(self) -> None:
        """Start exchanging. Does not raise if Redis is down."""
        self._rates.note_charges()
        self._thread.start()

    def stop(self) -> None:
        """End after the exchange in progress."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._redis.close()

    def use_database(self, database_id: str) -> None:
        """Exchange only with the indexers of this database from now on."""
        self._prefix = f"rates:{database_id}:"

    def exchange(self) -> bool:
        """Add this indexer's charges and charge the others' since last time; return False on failure."""
        charged = self._rates.take_charges()
        minute = int(self._now_s()) // _MINUTE_S
        if minute != self._minute:
            self._minute, self._seen = minute, Counter()
        mine = {_Key(what, org_id): amount for (what, org_id), amount in charged.items()}
        keys = sorted(mine.keys() | self._seen.keys())
        if not keys:
            return True
        try:
            totals = self._add(keys, mine, minute)
        except REDIS_ERRORS as e:
            self.faults[redis_fault(e)] += 1
            return False
        for key, total in zip(keys, totals, strict=True):
            if isinstance(total, int):
                others = total - self._seen[key] - mine.get(key, 0)
                self._seen[key] = total
                if others > 0:
                    self._rates.charge(key.what, key.org_id, others, here=False)
        refused = [total for total in totals if isinstance(total, ResponseError)]
        self.faults.update(map(redis_fault, refused))
        return not refused

    def _add(self, keys: Sequence[_Key], mine: Mapping[_Key, int], minute: int) -> Sequence[object]:
        """Add charges and return the sum of each key, or its error: other programs may write there."""
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                name = f"{self._prefix}{key.org_id}:{minute}"
                pipe.hincrby(name, key.what, mine.get(key, 0))
                pipe.expire(name, _KEPT_S)
            return pipe.execute(raise_on_error=False)[::2]

    def _run(self) -> None:
        done = True
        while not self._stopped.wait(EXCHANGE_S if done else _REST_S):
            done = self.exchange()
