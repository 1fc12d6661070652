"""Shares rates of orgs between all indexers of one Redis: each charges the others' writes, too.

One hash per org and minute; every EXCHANGE_S seconds an exchange for the orgs that wrote here, in its own
thread: nothing waits for it. While Redis is down or slow, each indexer counts for itself. Coarse on purpose:
an org may write that long at the limit of each indexer. Afterwards most charges of that time are paid: as one
sum they would refuse an org that stayed within its limit, so only the unpaid rest is shared.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
from redis.exceptions import ResponseError

from indexer.intern.redis_client import open_redis
from indexer.intern.redis_faults import REDIS_ERRORS, RedisFault, redis_fault
from indexer.receive.org_rates import OrgRates, Rated

log = logging.getLogger(__name__)

#: Seconds between two exchanges.
EXCHANGE_S: Final = 1.0
_MINUTE_S: Final = 60
_KEPT_S: Final = 3 * _MINUTE_S
#: Seconds without exchanges after Redis failed.
_REST_S: Final = 5.0
#: After more seconds without an answer the charges since then are late.
_LATE_S: Final = 10.0
#: Late charges of more orgs are forgotten.
_MAX_LATE: Final = 10_000


class _Key(NamedTuple):
    what: Rated
    org_id: int


class _Shared(msgspec.Struct):
    """The charges of a minute: `mine`, those of them that are `there`, in Redis, and those of `others`."""

    mine: int = 0
    there: int = 0
    others: int = 0


class SharedRates:
    """Exchanges the charges of `rates`. `now_s` is the wall clock, `clock_s` a monotonic one.

    `on_mistake` is called with the name of the exchange when it has raised.
    """

    def __init__(
        self,
        url: str,
        rates: OrgRates,
        on_mistake: Callable[[str], None] = lambda _: None,
        *,
        timeout_s: float = 0.25,
        now_s: Callable[[], float] = time.time,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock_s = clock_s
        self._redis = open_redis(url, timeout_s)
        self._rates = rates
        self._on_mistake = on_mistake
        self._prefix = "rates:"
        self._now_s = now_s
        #: Failed exchanges, and keys that Redis refused, by reason.
        self.faults: Counter[RedisFault] = Counter()
        self._name = uuid.uuid4().hex
        self._minute = 0
        self._of: defaultdict[_Key, _Shared] = defaultdict(_Shared)  # of this minute
        self._unsure = False  # whether the last request was carried out
        self._answered_s = clock_s()
        self._late_s = 0.0  # the seconds without an answer, once they are many
        self._late: Counter[_Key] = Counter()  # charges since then
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
        """Add this indexer's charges and charge the others' since last time; return False on failure.

        Redis has this indexer's part of each sum, too. So a request without an answer counts once, whether
        Redis carried it out or not: the next one only looks how much is there, the one after adds the rest.
        """
        away_s = self._clock_s() - self._answered_s
        self._late_s = away_s if self._unsure and away_s > _LATE_S else 0.0
        if self._late_s:
            self._set_apart()
        minute = int(self._now_s()) // _MINUTE_S
        if minute != self._minute and not self._begin(minute):
            return False
        for (what, org_id), amount in self._rates.take_charges().items():
            self._of[_Key(what, org_id)].mine += amount
        for key in self._late:
            self._of[key].mine += 0  # their orgs are asked for, too
        done = self._exchange(add=not self._unsure)
        if self._late and not self._unsure:
            self._share_unpaid()
        return done

    def _set_apart(self) -> None:
        """Take the charges that Redis lacks for late ones."""
        for (what, org_id), amount in self._rates.take_charges().items():
            self._add_late(_Key(what, org_id), amount)
        for key, of in self._of.items():
            self._add_late(key, of.mine - of.there)
            of.mine = of.there

    def _add_late(self, key: _Key, amount: int) -> None:
        if amount > 0 and (key in self._late or len(self._late) < _MAX_LATE):
            self._late[key] += amount

    def _share_unpaid(self) -> None:
        """Share the late charges that a bucket could not pay meanwhile."""
        for key, amount in self._late.items():
            if unpaid := self._rates.unpaid(key.what, amount, self._late_s):
                self._of[key].mine += unpaid
        self._late.clear()

    def _begin(self, minute: int) -> bool:
        """Begin a minute with the charges that Redis lacks of the one before; return False without an answer.

        Earlier ones are not shared any more: their debts are paid.
        """
        follows = minute == self._minute + 1
        if follows and not self._exchange(add=False) and self._unsure:
            return False
        rest = {key: of.mine - of.there for key, of in self._of.items()} if follows else {}
        self._of.clear()
        for key, amount in rest.items():
            if amount > 0:
                self._of[key].mine = amount
        self._minute = minute
        return True

    def _exchange(self, *, add: bool) -> bool:
        keys = sorted(self._of)
        if not keys:
            return True
        added = [self._of[key].mine - self._of[key].there if add else 0 for key in keys]
        try:
            found = self._add(keys, added, self._minute)
        except REDIS_ERRORS as e:
            self._unsure = True
            self.faults[redis_fault(e)] += 1
            return False
        self._unsure = False
        self._answered_s = self._clock_s()
        for key, (there, total) in zip(keys, found, strict=True):
            of = self._of[key]
            if isinstance(there, int):
                of.there = there
                of.mine = max(of.mine, there)  # more is there of this minute, once a clock was set back
            if isinstance(there, int) and isinstance(total, int):
                new = max(0, total - there - of.others)
                if self._late_s:  # a sum holds those of its minute at most
                    new = self._rates.unpaid(key.what, new, min(self._late_s, self._now_s() % _MINUTE_S))
                self._rates.charge(key.what, key.org_id, new, here=False)
                of.others = max(of.others, total - there)
        refused = [value for pair in found for value in pair if isinstance(value, ResponseError)]
        self.faults.update(map(redis_fault, refused))
        return not refused

    def _add(
        self, keys: Sequence[_Key], added: Sequence[int], minute: int
    ) -> Sequence[tuple[object, object]]:
        """Add charges; return this indexer's part and the sum of each key, or an error in the place of each.

        Both are added in one transaction. Other programs may write there.
        """
        with self._redis.pipeline(transaction=True) as pipe:
            for key, amount in zip(keys, added, strict=True):
                name = f"{self._prefix}{key.org_id}:{minute}"
                pipe.hincrby(name, f"{key.what}/{self._name}", amount)
                pipe.hincrby(name, key.what, amount)
                pipe.expire(name, _KEPT_S)
            answers = pipe.execute(raise_on_error=False)
        return list(zip(answers[::3], answers[1::3], strict=True))

    def _run(self) -> None:
        done = True
        while not self._stopped.wait(EXCHANGE_S if done else _REST_S):
            try:
                done = self.exchange()
            except Exception:  # a mistake of ours: without the exchange each indexer allows the whole rate
                log.exception("event=task_failed task=rates")
                self._on_mistake("rates")
                done = False
