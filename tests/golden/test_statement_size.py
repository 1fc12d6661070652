"""Statements over many series: their text is bounded, and data sent with them reaches every shard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from shim.model.grid import Grid
from tests.golden.test_plans import HOUR, KEPT, NOW_S
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

DATABASE: Final = "golden_size"
SERIES: Final = 1_400
#: Bytes of a statement at most, whatever the number of series (a server takes 262,144).
MAX_TEXT: Final = 32_768
#: How a sent list may be used: both are known to every shard of a cluster.
USES: Final = re.compile(r"GLOBAL IN \(SELECT arrayJoin\(list\d+\) FROM sent\)|\(SELECT list\d+ FROM sent\)")
#: Four windows at odd times: each is stitched of many pieces.
FOUR_ODD: Final = Grid(NOW_S * 1000 - 3 * 7_217_000, NOW_S * 1000, 7_217_000)

QUERIES: Final = [
    "sum(increase(c{s}[5m]))",
    "sum by (few) (increase(c{s}[5m]))",
    "sum by (many) (increase(c{s}[2d]))",
    "sum(c{s})",
    "irate(c{s}[5m])",
    "g{s}",
    "max_over_time(g{s}[10m])",
    "histogram_quantile(0.9, sum by (few) (rate(d{s}[5m])))",
    "sum by (le) (rate(d_bucket{s}[5m]))",
    "max by (few) (max_over_time(d{s}[5m]))",
    "sum by (few) (rate(d_count{s}[5m]))",
    "sum(s{s})",
    "sum by (few) (sum_over_time(s{s}[1h]))",
    '{{__name__=~".+",few="f1"}}',
]


@pytest.fixture(scope="module")
def pipeline(chdb_path: Path) -> Iterator[Pipeline]:
    with embedded(chdb_path, DATABASE, kept=KEPT) as store:
        # Rows are few: nothing is added up here, so that ClickHouse is asked as for many.
        made = Pipeline.open(store, NOW_S * 1000, few_rows=0, retention=KEPT)
        made.max_frame_rows = 100_000
        lines = []
        for i in range(SERIES):
            tags = f"|#few:f{i % 7},many:m{i},odd:{i % 2}|T{NOW_S - 40}"
            lines += [f"c:2|c{tags}", f"g:{i}|g{tags}", f"d:{1 + i % 9}|d{tags}", f"s:u{i}|s{tags}"]
        lines += [f"metric_{i}:1|c|#few:f1|T{NOW_S - 40}" for i in range(SERIES)]
        made.send(lines)
        yield made
        made.close()


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(
    ("grid", "selector"), [(HOUR, ""), (FOUR_ODD, '{odd="1"}')], ids=["hour of all", "four odd of half"]
)
def test_the_text_is_bounded_and_every_list_is_global(
    pipeline: Pipeline, query: str, grid: Grid, selector: str
) -> None:
    explain = pipeline.answer(query.format(s=selector), grid, instant=False, explain=True).explain
    assert explain is not None
    assert explain["statements"]
    for statement in explain["statements"]:
        text = statement["sql"]
        assert len(text) < MAX_TEXT, f"{len(text)} bytes"
        assert len(re.findall(r"\bsent\b", text)) == len(USES.findall(text))
        assert not re.search(r"(?<!GLOBAL )\bIN \(SELECT|(?<!ARRAY )(?<!GLOBAL ANY LEFT )\bJOIN", text)
    texts = [s["sql"] for s in explain["statements"] if selector or " transform(" in s["sql"]]
    assert not texts or any("list1" in text for text in texts), "nothing was sent: too few series for this"
