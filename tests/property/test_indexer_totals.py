"""For any frames, in any batches, repeated or not: the rollups add up to the values sent."""

from __future__ import annotations

import time
import uuid
from collections import Counter, defaultdict
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.wire.frame import Frame
from indexer.clickhouse.schema import GRANULARITIES
from indexer.clickhouse.store import Store
from indexer.intern.cache import LruCache
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.series import SeriesRegistry, series_ids, tag_sums
from indexer.intern.string_indexer import StringIndexer
from indexer.write.inserter import Inserter
from tests.support.frames import TEN_YEARS, FrameRows, make_frame, unit

START_S = int(time.time()) // 86_400 * 86_400 - 3 * 86_400

names = st.sampled_from(["hits", "took", "http.requests"])
tags = st.dictionaries(
    st.sampled_from(["host", "zone", "ü"]), st.sampled_from(["a", "b", "", "x:y"]), max_size=3
)
buckets = st.one_of(st.integers(0, 30), st.integers(0, 3 * 8640)).map(lambda n: START_S + n * 10)
deltas = st.integers(-1000, 1000).map(float)  # whole numbers, so that sums are exact in any order
counter_rows = st.lists(st.tuples(names, tags, buckets, deltas), max_size=30)
observations = st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=8)
distribution_rows = st.lists(st.tuples(names, tags, buckets, observations), max_size=8)
frames = st.lists(
    st.builds(
        lambda c, d, p: (FrameRows(counters=c, distributions=d), p),
        counter_rows,
        distribution_rows,
        st.integers(1, 2),
    ),
    min_size=1,
    max_size=4,
)


def series_of(strings: StringIndexer, project: int, kind: int, name: str, tag_map: Any) -> int:
    """Return the id, computed one by one: the truth the columns are held against."""
    keys = strings.record_array(1, list(tag_map))
    values = strings.record_array(1, list(tag_map.values()))
    sums = tag_sums(np.array([len(tag_map)]), keys, values)
    return int(series_ids(1, project, kind, strings.record_array(1, [name]), sums)[0])


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sent=frames, splits=st.integers(1, 4), repeats=st.integers(1, 2))
def test_sums_per_series_and_bucket(store: Store, sent: list[Any], splits: int, repeats: int) -> None:
    clear(store)
    strings = StringIndexer(ClickHouseIdStore(store), [LruCache(1000)])
    built = [make_frame(rows, project_id=project) for rows, project in sent]
    batches = [built[i::splits] for i in range(splits)]
    run = uuid.uuid4().hex
    for _ in range(repeats):
        inserter = Inserter(store, strings, SeriesRegistry(10_000), retention=TEN_YEARS)
        for number, batch in enumerate(batches):
            inserter.insert(f"{run}/{number}", [unit(f) for f in batch])
    for g in GRANULARITIES:
        counters, counts, histograms = truth(strings, sent, g.seconds)
        assert found_counters(store, g.name) == counters
        assert found_distributions(store, g.name) == (counts, histograms)
    check_series(store, built)


def clear(store: Store) -> None:
    for kind in ("counters", "distributions"):
        for g in GRANULARITIES:
            store.command(f"TRUNCATE TABLE {kind}_{g.name}")
    store.command("TRUNCATE TABLE series")


def truth(strings: StringIndexer, sent: list[Any], seconds: int) -> tuple[Any, Any, Any]:
    counters: dict[tuple[int, int], float] = defaultdict(float)
    counts: Counter[tuple[int, int]] = Counter()
    histograms: dict[tuple[int, int], Counter[float]] = defaultdict(Counter)
    for rows, project in sent:
        for name, tag_map, bucket, value in rows.counters:
            counters[series_of(strings, project, 1, name, tag_map), bucket // seconds * seconds] += value
        for name, tag_map, bucket, values in rows.distributions:
            key = series_of(strings, project, 3, name, tag_map), bucket // seconds * seconds
            counts[key] += len(values)
            histograms[key].update(abs(v) for v in values if v)
    return dict(counters), dict(counts), {k: sum(h.values()) for k, h in histograms.items()}


def found_counters(store: Store, granularity: str) -> dict[tuple[int, int], float]:
    rows = store.rows(
        f"SELECT series_id, toUnixTimestamp(timestamp), sum(value) FROM counters_{granularity} GROUP BY 1, 2"
    )
    return {(s, t): v for s, t, v in rows}


def found_distributions(store: Store, granularity: str) -> tuple[Any, Any]:
    rows = store.rows(
        "SELECT series_id, toUnixTimestamp(timestamp), sum(count),"
        " arraySum(mapValues(sumMap(positive))) + arraySum(mapValues(sumMap(negative)))"
        f" FROM distributions_{granularity} GROUP BY 1, 2"
    )
    return {(s, t): n for s, t, n, _ in rows}, {(s, t): b for s, t, _, b in rows}


def check_series(store: Store, built: list[Frame]) -> None:
    """Every series with rows on a day is in the table `series` with its tags, once when merged."""
    (missing,) = store.rows(
        "SELECT count() FROM counters_10s"
        " WHERE (series_id, toDate(timestamp)) NOT IN (SELECT series_id, day FROM series)"
    )
    assert missing == (0,)
    rows = store.rows(
        "SELECT series_id, arraySort(arrayZip(any(k), any(v))) FROM (SELECT series_id, day, tag_keys AS k,"
        " tag_values AS v FROM series) GROUP BY series_id"
    )
    assert len(rows) == len({r[0] for r in rows})
    assert (len(rows) > 0) == any(f.rows for f in built)
