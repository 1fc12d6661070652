"""docs/retention.md: its days are the defaults, and its megabytes those that the bytes of a row give."""

from __future__ import annotations

import re

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.retention import Retention
from tests.support.markdown import ROOT


def rows(page: str, first: str) -> list[list[str]]:
    """Return the cells of the rows of a page whose first cell matches."""
    lines = re.findall(rf"^\| (?:{first}) \|.*$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_days_are_the_defaults() -> None:
    found = rows("retention.md", "10 s|1 min|1 h|1 d, with names and labels")
    assert [(setting, days) for _, days, setting in found] == [
        (f"`indexer.retention.days_{g.name}`", f"{Retention().days(g.name)} days") for g in GRANULARITIES
    ]


def test_megabytes_follow_from_the_measured_bytes_of_a_row() -> None:
    measured = rows("clickhouse.md", "counters|gauges|distributions|sets")
    shown = rows("retention.md", "counter|gauge|distribution|set")
    assert len(shown) == len(measured) == 4
    together = []
    for (kind, *cells), (kinds, *sizes) in zip(shown, measured, strict=True):
        assert kinds == f"{kind}s"
        bytes_ = [
            float(size) * Retention().days(g.name) * 86_400 / g.seconds
            for size, g in zip(sizes, GRANULARITIES, strict=False)
        ]
        for cell, value in zip(cells, [*bytes_, sum(bytes_)], strict=True):
            assert abs(float(cell) - value / 1e6) <= 0.51 * 10 ** -len(cell.partition(".")[2]), (kind, cell)
        together.append(sum(bytes_))
    assert round(together[0] * 1_000 / 1e9 + together[1] * 100 / 1e9 + together[2] * 100 / 1e9, 1) == 5.9
