"""docs/promql.md against the engine: each cell of its table of range functions, and the known differences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.clickhouse.schema import Retention
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model.errors import BadData
from shim.model.grid import Grid
from shim.model.values import Vector
from shim.plan import supported
from tests.support.pipeline import Pipeline
from tests.support.promql_table import KINDS, differences, range_cell
from tests.support.worlds import embedded

NOW_S = 20_400 * 86_400
DATABASE = "engine_documented"
KEPT = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
#: Functions with scalars beside the range.
ARGUMENTS = {
    "quantile_over_time": "0.5, {}",
    "predict_linear": "{}, 60",
    "double_exponential_smoothing": "{}, 0.5, 0.5",
}


@pytest.fixture(scope="module")
def p(chdb_path: Path) -> Iterator[Pipeline]:
    """One series of each type, called like it."""
    with embedded(chdb_path, DATABASE) as store:
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        types = {"counter": "c", "gauge": "g", "distribution": "d", "set": "s"}
        pipeline.send(f"{k}:{n % 7}|{t}|T{NOW_S - n}" for k, t in types.items() for n in range(5, 300, 5))
        yield pipeline
        pipeline.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", sorted(supported.range_functions()))
def test_a_cell_of_the_table(p: Pipeline, function: str, kind: str) -> None:
    query = f"{function}({ARGUMENTS.get(function, '{}').format(f'{kind}[1m]')})"
    cell = range_cell(function, kind)
    if not cell:
        with pytest.raises(BadData, match=rf"{function}\(\)"):
            p.instant(query, NOW_S)
        return
    value = p.answer(query, Grid.instant(NOW_S * 1000)).value
    assert isinstance(value, Vector)
    if function == "absent_over_time":
        assert not value.present.any()
        return
    native = cell == "histogram" or (cell == "running total" and RANGE_FUNCTIONS[function].histograms)
    native = native and kind == "distribution"
    assert (len(value.histograms), int(value.present.sum())) == ((1, 0) if native else (0, 1))


@pytest.mark.parametrize(
    "entry",
    [d for d in differences() if "refused" in d and any(k in d["query"] for k in ("distribution", "set["))],
    ids=lambda d: d["query"],
)
def test_known_differences_are_refused_when_read(p: Pipeline, entry: dict[str, str]) -> None:
    with pytest.raises(BadData) as raised:
        p.instant(entry["query"], NOW_S)
    assert entry["refused"] in str(raised.value), "supported now? Take it from tests/known_differences.toml"


def test_known_differences_in_meaning(p: Pipeline) -> None:
    """Prometheus would extrapolate the samples 0..11 s apart; and it has no sets."""
    truth = sum(n % 7 for n in range(5, 61, 5))
    assert list(p.instant("increase(counter[1m])", NOW_S).values()) == [truth]
    summed = list(p.instant("sum_over_time(set[5m:1m])", NOW_S).values())
    one_by_one = [list(p.instant("set", NOW_S - 60 * k).values()) for k in range(5)]
    assert summed == [sum(v for found in one_by_one for v in found)]


@pytest.mark.parametrize(
    ("query", "position"),
    [
        ("histogram_quantile(0.5, counter)", "1:25"),
        ("histogram_quantile(7, counter)", "1:20"),
        ("sum(\n rate(gauge[1m]))", "2:7"),
        ("quantile by (a) (7, gauge)", "1:18"),
        ("topk(1, distribution)", "1:1"),
        ("1 + min(distribution)", "1:9"),
        ("gauge + on () (gauge > distribution)", "1:16"),
        ("sum({__name__=~'gauge|distribution'})", "1:5"),
        ("max_over_time(rate(gauge[1m])[5m:1m])", "1:20"),
        ("quantile_over_time(7, distribution[1m])", "1:20"),
        ("delta(distribution[1m])", "1:7"),
        ("histogram_count(idelta(distribution[1m]))", "1:24"),
    ],
)
def test_annotations_end_in_their_position(p: Pipeline, query: str, position: str) -> None:
    notes = p.answer(query, Grid.instant(NOW_S * 1000)).notes
    assert any(text.endswith(f" ({position})") for text in (*notes.warnings, *notes.infos)), notes
