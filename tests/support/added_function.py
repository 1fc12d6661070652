"""Adds a range function by listing its directory, and queries it through the whole engine.

python -m tests.support.added_function CHDB_DIRECTORY    a process of its own: the registry is read once
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support import added_range

NAME: Final = "breadth_over_time"
DAY_S: Final = 86_400
NOW_S: Final = 20_400 * DAY_S
GRANULARITIES_S: Final = (10, 60, 3_600, DAY_S)


def add() -> None:
    """Put the directory next to that of the product's functions, before any is read."""
    importlib.import_module("shim.eval.range").__path__.extend(added_range.__path__)


def check(directory: Path) -> None:
    """Send values of each type over a day, and query the function at each granularity."""
    from indexer.clickhouse.schema import Retention, migrate
    from indexer.clickhouse.store import open_store
    from shim.model.errors import BadData
    from shim.plan.experimental import EXPERIMENTAL
    from tests.support.pipeline import Pipeline
    from tests.support.promql_table import range_table

    kept = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
    store = open_store(f"chdb://{directory}", pool=2)
    migrate(store, kept)
    pipeline = Pipeline.open(store, NOW_S * 1000, retention=kept)
    values = [(age_s, age_s * 7 % 23) for age_s in range(5, DAY_S, 400)]
    types = {"counter": "c", "gauge": "g", "distribution": "d", "set": "s"}
    pipeline.send(f"{k}:{v}|{t}|T{NOW_S - age_s}" for k, t in types.items() for age_s, v in values)
    drawn = [v for _, v in values]
    breadth = float(max(drawn) - min(drawn))
    want = {
        "counter": float(sum(drawn)),
        "gauge": breadth,
        "distribution": breadth,
        "set": float(len({*drawn})),
    }
    for kind, expected in want.items():
        for granularity_s in GRANULARITIES_S:
            found = pipeline.instant(f"{NAME}({kind}[1d])", NOW_S, granularity_s=granularity_s)
            assert found == {(): expected}, (kind, granularity_s, found)
        found = pipeline.instant(f"sum({NAME}({kind}[1d])) + 1", NOW_S)
        assert found == {(): expected + 1}, (kind, found)
    sampled = pipeline.instant(f"{NAME}(counter[1d:1h])", NOW_S)
    assert 0 < sampled[()] < want["counter"]
    with pytest.raises(BadData, match=f'in call to function "{NAME}"'):
        pipeline.instant(f"{NAME}(counter)", NOW_S)
    assert NAME in EXPERIMENTAL
    row = f"| `{NAME}` | The largest value minus the smallest |"
    assert f"{row} exact deltas | all values | observations | union |" in range_table()
    pipeline.close()
    store.close()


if __name__ == "__main__":
    add()
    check(Path(sys.argv[1]))
