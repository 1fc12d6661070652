"""A shim reads the retentions of rows again while it runs."""

from __future__ import annotations

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.eras import NOTICE_MS, Era
from indexer.clickhouse.store import StoreError
from shim.engine.retention_eras import REFRESH_S, RetentionEras

FIRST = Era(0, Retention(days_10s=30), ())
LATER = Era(1_000, Retention(days_10s=90), ())


class World:
    """A clock and a store that may be away."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.noted = [FIRST]
        self.away = False
        self.asked = 0
        self.eras = RetentionEras(self._read, lambda: self.now_s)

    def _read(self) -> list[Era]:
        self.asked += 1
        if self.away:
            raise StoreError("away", retryable=True)
        return list(self.noted)


def test_a_change_is_known_before_rows_follow_it() -> None:
    world = World()
    world.noted.append(LATER)
    assert list(world.eras.present()) == [FIRST]
    assert REFRESH_S * 1000 <= NOTICE_MS / 2
    world.now_s += REFRESH_S
    assert list(world.eras.present()) == [FIRST, LATER]
    assert world.eras.retention() == LATER.retention


def test_few_statements_ask_for_it() -> None:
    world = World()
    for _ in range(1_000):
        world.now_s += REFRESH_S / 500
        world.eras.present()
    assert world.asked == 1 + 2


def test_while_the_store_is_away_the_earlier_ones_remain() -> None:
    world = World()
    world.away = True
    for _ in range(3):
        world.now_s += REFRESH_S
        assert list(world.eras.present()) == [FIRST]
    world.away, world.noted = False, [FIRST, LATER]
    world.now_s += REFRESH_S
    assert list(world.eras.present()) == [FIRST, LATER]
