"""PromQL that Prometheus calls experimental, over the whole path: fill modifiers, info(), small functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.clickhouse.schema import Retention
from shim.model.errors import BadData, ExecutionError
from shim.model.labels import make
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

NOW_S = 20_400 * 86_400
DATABASE = "engine_experimental"
KEPT = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)


def lines() -> Iterator[str]:
    """Five minutes, a sample a minute: gauges with labels in part the same, and info series that change."""
    for k in range(5):
        at = f"|T{NOW_S - 240 + 60 * k}"
        yield f"left:{k}|g|#x:a{at}"
        yield f"left:10|g|#x:b{at}"
        yield f"right:100|g|#x:a{at}"
        if k > 2:
            yield f"right:400|g|#x:d{at}"
        yield f"load:{k}|g|#instance:i1,job:j{at}"
        yield f"load:7|g|#instance:i2,job:j{at}"
        yield f"jobs:1|c|#instance:i1,job:j{at}"
        version = "old" if k < 3 else "new"
        yield f"target_info:1|g|#instance:i1,job:j,version:{version},zone:z{at}"
        yield f"build_info:1|c|#instance:i1,job:j,commit:c{at}"
        yield f"lat:{k + 1}|d|#instance:i1,job:j|T{NOW_S - 250 + 60 * k}"


@pytest.fixture(scope="module")
def p(chdb_path: Path) -> Iterator[Pipeline]:
    with embedded(chdb_path, DATABASE) as store:
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        pipeline.send(lines())
        yield pipeline
        pipeline.close()


@pytest.fixture(scope="module")
def off(p: Pipeline) -> Iterator[Pipeline]:
    """Return the same data, with experimental PromQL turned off."""
    pipeline = Pipeline.open(p.store, NOW_S * 1000, retention=KEPT, experimental=False)
    yield pipeline
    pipeline.close()


@pytest.mark.parametrize(
    "query", ["info(load)", "left + fill (0) right", "load[5m] anchored", "rate(jobs[step()])"]
)
def test_what_is_experimental_can_be_turned_off(off: Pipeline, query: str) -> None:
    with pytest.raises(BadData, match=r"parse error: .*(not enabled|unexpected)"):
        off.instant(query, NOW_S)


def test_fill(p: Pipeline) -> None:
    a, b, d = (make({"x": x}) for x in "abd")
    assert p.instant("left + fill (0) right", NOW_S) == {a: 104, b: 10, d: 400}
    assert p.instant("sum(left + fill_right (1) right)", NOW_S) == {(): 115}
    found = p.range("left + fill_left (-1) right", NOW_S - 120, NOW_S, 60)
    assert found == {a: [102, 103, 104], d: [None, 399, 399]}


def test_info(p: Pipeline) -> None:
    who = {"__name__": "load", "instance": "i1", "job": "j"}
    bare = make({"__name__": "load", "instance": "i2", "job": "j"})
    old, new = (make({**who, "version": v, "zone": "z"}) for v in ("old", "new"))
    found = p.range("info(load)", NOW_S - 120, NOW_S, 60)
    assert found == {old: [2, None, None], new: [None, 3, 4], bare: [7, 7, 7]}
    assert p.instant('info(load, {version=~".+"})', NOW_S) == {make({**who, "version": "new"}): 4}
    assert p.instant("info(load @ end() offset 2m)", NOW_S) == {old: 2, bare: 7}
    both = make({**who, "version": "new", "zone": "z", "commit": "c"})
    assert p.instant('info(load, {__name__=~".+_info"})', NOW_S) == {both: 4, bare: 7}
    rated = p.instant('sum by (version) (info(rate(jobs[1m]), {version=~".+"}))', NOW_S)
    assert rated == {make({"version": "new"}): pytest.approx(1 / 60)}
    assert p.instant("histogram_count(info(lat))", NOW_S) == {
        make({"instance": "i1", "job": "j", "version": "new", "zone": "z"}): 5
    }
    with pytest.raises(ExecutionError, match="info sample should be float"):
        p.instant('info(load, {__name__="lat"})', NOW_S)


def test_functions(p: Pipeline) -> None:
    at = NOW_S - 60
    assert p.instant("max_of(1, scalar(sum(left)))", NOW_S) == {(): 14}
    assert p.instant("start_timestamp(load)", NOW_S) == {}
    assert p.range("end() - start() + 0 * range() + step()", at, NOW_S, 30) == {(): [90, 90, 90]}
    found = p.instant('histogram_quantiles(lat, "q", 0, 1)', NOW_S)
    where = {"instance": "i1", "job": "j"}
    assert found[make({**where, "q": "1.0"})] == pytest.approx(5, rel=0.022)
    assert found[make({**where, "q": "0.0"})] == pytest.approx(1, rel=0.022)
