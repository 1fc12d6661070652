"""After a restart: data of earlier queries is in memory again, before a client asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from indexer.clickhouse.schema import Retention
from indexer.clickhouse.store import Store
from indexer.write.insert_feed import InsertFeed
from shim.catalog import Catalog
from shim.catalog.types import Days, SelectionKey
from shim.engine.api import QueryOptions
from shim.engine.cache_warmer import MAX_SELECTIONS, CacheWarmer
from shim.engine.engine import QueryEngine
from shim.engine.warm_state import WarmState, load, save
from shim.metrics import ShimMetrics
from shim.model.grid import Grid
from shim.model.matchers import Matcher
from shim.model.tenancy import Tenant
from shim.read.cell_cache.chunk import Source, places
from shim.read.cell_cache.setup import CellCache
from shim.settings import CacheSettings, CatalogSettings, ShimSettings
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

NOW_S: Final = 20_400 * 86_400
HOUR_S: Final = 3_600
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
TENANT: Final = Tenant(1, 1)
ONE: Final = 'rate(hits{n="2"}[1m])'
ALL: Final = "sum(rate(hits[1m]))"
GRID: Final = Grid((NOW_S - 2 * HOUR_S) * 1000, (NOW_S - HOUR_S) * 1000, 10_000)


@pytest.fixture(scope="module")
def store(chdb_path: Path) -> Iterator[Store]:
    """Three hours of four series."""
    with embedded(chdb_path, "restarts", pool=6) as opened:
        filled = Pipeline.open(opened, NOW_S * 1000)
        filled.send(
            f"hits:1|c|#n:{i}|T{NOW_S - age_s - 10}" for age_s in range(0, 3 * HOUR_S, 10) for i in range(4)
        )
        filled.close()
        yield opened


class Process:
    """The parts of a process that a restart is about."""

    def __init__(
        self, store: Store, path: Path, within_s: float = 60.0, busy: Callable[[], bool] = lambda: False
    ) -> None:
        settings = ShimSettings(settle_s=0.0, retention=KEPT, cache=CacheSettings(fill_after=1))
        self.metrics = ShimMetrics()
        self.catalog = catalog = Catalog(store, settings, lambda: 1, self.metrics)
        self.blocks = CellCache(store, settings.cache, KEPT, InsertFeed(), self.metrics)
        self.engine = QueryEngine(store, catalog, settings, now_s=lambda: float(NOW_S), blocks=self.blocks)
        self.warmer = CacheWarmer(catalog, self.blocks, path, within_s, busy)

    async def statements(self, query: str) -> int:
        """Return the number of statements that a query takes, look-ups of series aside."""
        options = QueryOptions(timeout_s=60.0, explain=True)
        answer = await self.engine.range(TENANT, query, GRID, options)
        assert answer.explain is not None
        return len(answer.explain["statements"])

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"meterhouse_shim_{name}_total", labels) or 0.0


@contextmanager
def process(store: Store, path: Path, **more: Any) -> Iterator[Process]:
    """One life: its queries are remembered at its end."""
    made = Process(store, path, **more)
    try:
        yield made
    finally:
        made.warmer.stop()
        made.warmer.remember()
        made.engine.close()


async def first_life(store: Store, path: Path) -> None:
    with process(store, path) as p:
        p.warmer.run(TENANT)
        assert await p.statements(ALL) == 1
        p.blocks.filler.wait()
        assert await p.statements(ONE) == 0


async def test_what_was_asked_is_there_again(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "recent.json"
    await first_life(store, path)
    found = load(path)
    assert (len(found.places), len(found.looks)) == (2, 2)
    with process(store, path) as p:
        p.warmer.run(TENANT)
        assert p.counted("block_fills", outcome="kept") == 2
        assert p.blocks.cache.asked() == []
        looked = p.counted("catalog_lookups", source="store")
        assert await p.statements(ALL) == await p.statements(ONE) == 0
        assert p.counted("catalog_lookups", source="store") == looked
        assert p.counted("catalog_lookups", source="memory") == 2
    assert load(path) == found, "and after the next restart"


async def test_what_is_not_asked_again_is_forgotten(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "recent.json"
    await first_life(store, path)
    asked = load(path)
    with process(store, path) as p:
        p.warmer.run(TENANT)
    assert load(path) == asked, "nobody asked anything"
    with process(store, path) as p:
        p.warmer.run(TENANT)
        await p.statements(ONE)
    assert load(path).places == asked.places
    assert load(path).looks == asked.looks[-1:]


async def test_who_asks_first_fills_first(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "recent.json"
    await first_life(store, path)
    with process(store, path) as p:
        await p.statements(ALL)
        p.blocks.filler.wait()
        p.warmer.run(None)
        assert p.counted("block_fills", outcome="kept") == 2, "and nobody does it twice"
        assert len(p.blocks.cache.asked()) == 2


async def test_it_waits_for_queries_until_its_time_is_up(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "recent.json"
    await first_life(store, path)
    with process(store, path, within_s=0.05, busy=lambda: True) as p:
        p.warmer.run(None)
        assert p.counted("block_fills", outcome="left") == 2
        assert len(p.blocks.cache) == 0
    turns = iter([True, True, False])
    with process(store, path, busy=lambda: next(turns, False)) as p:
        p.warmer.run(None)
        assert len(p.blocks.cache) == 2


async def test_it_ends_when_the_process_stops(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "recent.json"
    await first_life(store, path)
    waits = threading.Event()

    def busy() -> bool:
        waits.set()
        return True

    with process(store, path, busy=busy) as p:
        runs = threading.Thread(target=p.warmer.run, args=(None,))
        runs.start()
        assert waits.wait(120)
        p.warmer.stop()
        runs.join(120)
        assert not runs.is_alive()


async def test_the_latest_come_first(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "recent.json"
    await first_life(store, path)
    older = load(path).places
    (latest,) = places(older[0].source, 60, NOW_S - HOUR_S, NOW_S)
    with process(store, tmp_path / "none") as p:
        once = iter([True])
        p.blocks.filler.restore((*older, latest), lambda: next(once, False))
        assert p.blocks.cache.missing((*older, latest)) == list(older)
        assert p.counted("block_fills", outcome="left") == 2


async def test_what_is_gone_is_no_trouble(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "recent.json"
    await first_life(store, path)
    found = load(path)
    gone = Source(99, 1, (5,), "counters", "nothing")
    save(path, WarmState((*found.places, *places(gone, 60, 0, 1)), found.looks))
    with process(store, path) as p:
        p.warmer.run(None)
        assert p.counted("block_fills", outcome="failed") == 1
        assert p.blocks.cache.missing(found.places) == []


async def test_so_many_look_ups_are_made_again_the_latest_of_them(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "recent.json"
    days = Days(NOW_S // 86_400 - 1, NOW_S // 86_400)
    looks = [SelectionKey(TENANT, (Matcher("n", "=", f"{i}"),), days) for i in range(MAX_SELECTIONS + 3)]
    save(path, WarmState(looks=tuple(looks)))
    with process(store, path) as p:
        p.warmer.run(None)
        assert p.counted("catalog_lookups", source="store") == MAX_SELECTIONS
        p.catalog.look_again(looks[-1])
        assert p.counted("catalog_lookups", source="memory") == 1
        assert p.catalog.looked_up() == []


async def test_what_is_looked_up_again_is_bounded_by_what_is_kept(store: Store) -> None:
    few = ShimSettings(retention=KEPT, catalog=CatalogSettings(cache_selections=3))
    catalog = Catalog(store, few, lambda: 1, ShimMetrics())
    days = Days(NOW_S // 86_400, NOW_S // 86_400)
    looks = [SelectionKey(TENANT, (Matcher("n", "=", f"{i}"),), days) for i in range(9)]
    for look in looks:
        catalog.look_again(look)
    assert catalog.looked_up() == []
    catalog.select(TENANT, looks[-1].matchers, NOW_S * 1000, NOW_S * 1000)
    assert catalog.looked_up() == looks[-1:]


async def test_a_file_that_cannot_be_written_is_said(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await first_life(store, tmp_path / "not there" / "recent.json")
    assert "event=not_remembered" in caplog.text


async def test_without_a_file_nothing_is_remembered(store: Store) -> None:
    metrics = ShimMetrics()
    catalog = Catalog(store, ShimSettings(), lambda: 1, metrics)
    warmer = CacheWarmer(catalog, None, None, 10.0, lambda: False)
    warmer.run(TENANT)
    warmer.remember()
