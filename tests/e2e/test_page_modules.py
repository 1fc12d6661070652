"""The web page's modules that compute: addresses, times, numbers, CSV and the rows of heatmaps, in Node."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from page_build import SOURCES
from tests.e2e.product import ROOT

pytestmark = pytest.mark.e2e

NODE: Final = Path(__file__).parent / "node"
NOW: Final = 1_800_000_000
BUCKETS: Final = [[0, str(2 ** ((i - 1) / 32)), str(2 ** (i / 32)), "1"] for i in range(-64, 65)]


def histogram(buckets: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [{"metric": {}, "histograms": [[10, {"count": "0", "sum": "0", "buckets": buckets}]]}]


#: Module, function, arguments, result.
CASES: Final[list[tuple[str, str, list[Any], Any]]] = [
    ("time", "parseDuration", ["1h30m"], 5_400),
    ("time", "parseDuration", ["90"], 90),
    ("time", "parseDuration", ["1 hour"], "NaN"),
    ("time", "parseDuration", ["h"], "NaN"),
    ("time", "formatDuration", [5_400], "1h30m"),
    ("time", "formatDuration", [0], "0s"),
    ("time", "formatDuration", [2_592_000], "30d"),
    ("time", "formatDuration", [1_209_600], "2w"),
    ("time", "autoStep", [3_600, 1_200], 20),
    ("time", "autoStep", [300, 1_200], 10),
    ("time", "autoStep", [31_536_000, 300], 345_600),
    ("time", "minStep", [31_536_000], 2_867),
    ("time", "rateWindow", [10], "1m"),
    ("time", "rateWindow", [300], "20m"),
    ("time", "parseTime", ["now-1h", True, NOW], NOW - 3_600),
    ("time", "parseTime", ["2026-11-28 10:00", True], 1_795_860_000),
    ("time", "parseTime", ["2026-11-28T10:00:00Z", False], 1_795_860_000),
    ("time", "parseTime", ["2026-11-28T12:00:00+02:00", True], 1_795_860_000),
    ("time", "parseTime", ["1795860000", True], 1_795_860_000),
    ("time", "parseTime", ["yesterday", True], "NaN"),
    ("time", "formatTime", [1_795_860_000, True], "2026-11-28 10:00:00"),
    ("time", "ago", [7_500], "2 h ago"),
    ("format", "short", [0.1 + 0.2], "0.3"),
    ("format", "short", [1_234_567], "1.235M"),
    ("format", "short", [1e-7], "1.00e-7"),
    ("format", "short", [0], "0"),
    ("format", "withUnit", [1_536, "bytes"], "1.5 KiB"),
    ("format", "withUnit", [0.25, "seconds"], "0.25 s"),
    ("format", "selector", ["shop.cart"], '{"shop.cart"}'),
    ("format", "seriesName", [{"__name__": "a", "b": 'x"y'}], 'a{b="x\\"y"}'),
    ("format", "seriesName", [{"__name__": "a.b", "c.d": "e"}], '{"a.b", "c.d"="e"}'),
    ("format", "seriesName", [{}, "1 + 1"], "1 + 1"),
    ("series", "csvCell", ['say "hi", x'], '"say ""hi"", x"'),
    ("series", "csvCell", ["=HYPERLINK(1)"], "'=HYPERLINK(1)"),
    ("series", "csvCell", ["-1.5"], "-1.5"),
    (
        "series",
        "csv",
        [{"times": [0, 10], "lines": [{"name": "a", "labels": {}, "values": [1, None]}]}],
        "time,a\n1970-01-01T00:00:00.000Z,1\n1970-01-01T00:00:10.000Z,\n",
    ),
    (
        "series",
        "withGaps",
        [{"times": [0, 30], "lines": [{"name": "a", "labels": {}, "values": [1, 2]}]}, 10],
        {"times": [0, 10, 20, 30], "lines": [{"name": "a", "labels": {}, "values": [1, None, None, 2]}]},
    ),
    (
        "series",
        "stack",
        [[{"name": "a", "labels": {}, "values": [1, 2]}, {"name": "b", "labels": {}, "values": [10, None]}]],
        [[1, 2], [11, 2]],
    ),
]


@pytest.fixture(scope="module")
def run() -> Any:
    """Provide a function that calls functions of the page, all in one process."""

    def call(calls: Sequence[tuple[str, str, list[Any]]]) -> Any:
        command = ["node", str(NODE / "page_modules.js"), str(ROOT / SOURCES / "src")]
        given, environ = json.dumps(calls), {**os.environ, "TZ": "Europe/Berlin"}
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, env=environ)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


def test_values(run: Any) -> None:
    found = run([(module, name, args) for module, name, args, _ in CASES])
    wrong = [(case, one) for case, one in zip(CASES, found, strict=True) if one != case[3]]
    assert wrong == []


def test_an_address_gives_the_same_state_again(run: Any) -> None:
    addresses = [
        "",
        "?view=explore&metric=a.b",
        "?q=a&q=b&show=table&range=86400&end=1800000000&step=60&refresh=30&ranged=1&utc=1",
        "?q=rate%28x%5B5m%5D%29&show=heatmap&stacked=1&log=1&explain=1",
    ]
    wrong = "?view=x&show=y&range=-1&end=z&step=NaN&stacked=yes"
    many = "?" + "&".join(f"q={i}" for i in range(100))
    parse = [("state", "parseState", [one]) for one in [*addresses, wrong, many]]
    found = run([*parse, *(("state", "formatState", [{"result": i}]) for i in range(len(addresses)))])
    assert found[len(parse) :] == addresses
    assert found[len(addresses)] == found[0]
    assert len(found[len(addresses) + 1]["queries"]) == 12


def test_rows_of_a_heatmap_merge_whole_buckets(run: Any) -> None:
    cases = {200: 129, 72: 65, 40: 33, 6: 5, 4: 3}  # most rows, rows
    answers = run([("bands", "bands", [histogram(BUCKETS), max_rows]) for max_rows in cases])
    for rows, found in zip(cases.values(), answers, strict=True):
        assert len(found["rows"]) == rows
        assert sum(found["counts"][0]) == len(BUCKETS)
        assert set(found["counts"][0][1:-1]) == {128 // (rows - 1)}  # each of the same width
        ends = [row["upper"] for row in found["rows"]]
        assert ends[:-1] == [row["lower"] for row in found["rows"][1:]]


def test_rows_of_a_heatmap_hold_zero_and_negative_values(run: Any) -> None:
    buckets = [[1, "-2", "-1", "3"], [3, "-0.001", "0.001", "5"], [0, "1", "2", "7"], [0, "8", "+Inf", "1"]]
    (found,) = run([("bands", "bands", [histogram(buckets), 72])])
    assert len(found["rows"]) == 1 + 1 + 4  # a row for each doubling
    filled = [(row, n) for row, n in zip(found["rows"], found["counts"][0], strict=True) if n]
    assert [n for _, n in filled] == [3, 5, 7, 1]
    assert [row["upper"] for row, _ in filled][:2] == [-1, 0.001]
    assert [row["upper"] for row in found["rows"]] == sorted(row["upper"] for row in found["rows"])
