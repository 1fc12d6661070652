"""`meterhouse export`: the file has every increment once, also after an interruption at any request."""

from __future__ import annotations

import csv
import re
import time
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest

from shim.cli.export import Exporter, ExportJob, ExportState, state_path
from tests.e2e.product import Starter, Up, wait_for

pytestmark = pytest.mark.e2e

START = int(time.time()) // 86_400 * 86_400 - 86_400  # rows of 10 s are kept for days
BUCKETS = 40
SERIES = 5


@pytest.fixture(scope="module")
def stored(product: Up) -> Up:
    """Provide the product with counters, gauges, distributions and sets in BUCKETS buckets."""
    lines = []
    for bucket in range(BUCKETS):
        at = START + bucket * 10 + 3
        for series in range(SERIES):
            lines += [
                f"exported.count:{bucket + series}|c|#k:{series}|T{at}",
                f"exported.level:{bucket - series}|g|#k:{series}|T{at}",
                f"exported.time:0.{series + 1}|d|#k:{series}|T{at}",
                f"exported.users:u{bucket}|s|#k:{series}|T{at}",
            ]
    product.send(lines)
    total = sum(bucket + series for bucket in range(BUCKETS) for series in range(SERIES))
    product.api.wait_until("sum(increase(exported_count[400s]))", START + 400, total)
    product.api.wait_until(
        "sum(histogram_count(increase(exported_time[400s])))", START + 400, BUCKETS * SERIES
    )
    product.api.wait_until("sum(sum_over_time(exported_users[400s]))", START + 400, BUCKETS)
    return product


def exporter(product: Up, file: Path, form: str, stop_after: int = 10**9) -> Exporter:
    """Return an exporter of few points at once, whose progress fails after `stop_after` requests."""
    path = state_path(file)
    job = ExportJob('{__name__=~"exported_.*"}', form, 10, START, START + BUCKETS * 10)
    state = msgspec.json.decode(path.read_bytes(), type=ExportState) if path.exists() else ExportState(job)
    left = stop_after

    def progress(_: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError("interrupted")

    return Exporter(product.api.url, {}, file, state, progress, max_chars=SERIES * 12 * 20)


def test_csv_has_every_value_once(stored: Up, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    exporter(stored, file, "csv").run()
    got = defaultdict[str, list[dict[str, str]]](list)
    with file.open() as lines:
        for row in csv.DictReader(lines):
            got[row["name"]].append(row)
    counts = {(int(r["timestamp"]), r["tags"]): float(r["value"]) for r in got["exported_count"]}
    assert counts == {
        (START + b * 10, f"k:{s}"): float(b + s) for b in range(BUCKETS) for s in range(SERIES) if b + s
    }
    levels = {(int(r["timestamp"]), r["tags"]): float(r["value"]) for r in got["exported_level"]}
    assert levels == {
        (START + b * 10 + 9, f"k:{s}"): float(b - s) for b in range(BUCKETS) for s in range(SERIES)
    }
    assert [(r["type"], r["count"]) for r in got["exported_time"]] == [
        ("distribution", "1")
    ] * BUCKETS * SERIES
    assert [(r["type"], r["value"]) for r in got["exported_users"]] == [("distinct", "1")] * BUCKETS * SERIES
    assert got.keys() == {"exported_count", "exported_level", "exported_time", "exported_users"}
    assert not state_path(file).exists()


@pytest.mark.parametrize("form", ["csv", "openmetrics"])
def test_an_interrupted_export_goes_on(stored: Up, tmp_path: Path, form: str) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    rows = exporter(stored, whole, form).run()
    for stop_after in (2, 5, 3):
        with pytest.raises(OSError, match="interrupted"):
            exporter(stored, parts, form, stop_after).run()
        with parts.open("ab") as out:
            out.write(b"a line that the kernel had, and the state had n")
    assert exporter(stored, parts, form).run() == rows
    assert parts.read_bytes() == whole.read_bytes()


def test_the_command(stored: Up, start: Starter) -> None:
    times = ("--start", str(START), "--end", str(START + 400), "--url", stored.api.url)
    done = start("export", "exported_level", "x.parquet", *times)
    assert done.wait() == 0, done.output
    assert "x.parquet: 200 rows from " in done.output
    made = start.folder / "x.parquet"
    assert made.read_bytes()[:4] == made.read_bytes()[-4:] == b"PAR1"
    again = start("export", "exported_level", "x.parquet", *times)
    assert again.wait() == 2
    assert "it exists and is not an interrupted export: expected a new name" in again.output
    for wrong, said in (
        (("x", "y.txt"), "expected an ending of .csv, .om, .openmetrics, .parquet, or --format"),
        (("x", "y.csv", "--step", "15s"), "expected a multiple of 10 s"),
        (("x", "y.csv", "--start", "now", "--end", "now-1h"), "expected a time after --start"),
        (("x", "y.csv", "--url", "http://127.0.0.1:9"), "the same command goes on from there"),
    ):
        refused = start("export", *wrong)
        assert refused.wait() == (1 if "--url" in wrong else 2), refused.output
        assert said in refused.output


def test_tail_and_top(stored: Up, start: Starter) -> None:
    url = ("--url", stored.api.url)
    tail = start("tail", "tailed_count", *url, "--buckets", "1")
    assert tail.wait() == 1
    assert "tailed_count: no such metric: expected a name as in PromQL" in tail.output
    began_s = int(time.time())
    stored.send([f"tailed.count:5|c|#k:v|T{began_s}"])
    wait_for(lambda: "tailed_count" in stored.api.data("metadata"), "the metric is known", 180)
    tail = start("tail", "tailed_count", *url, "--buckets", "1")
    sent = {began_s // 10}

    def shown() -> bool:
        """Send a line of each bucket: a busy machine may need the minute that the command looks back."""
        now_s = int(time.time())
        if now_s // 10 not in sent:
            sent.add(now_s // 10)
            stored.send([f"tailed.count:5|c|#k:v|T{now_s}"])
        return not tail.running

    wait_for(shown, "a bucket is shown", 180)
    assert tail.wait() == 0, tail.output
    assert re.fullmatch(r"\d\d:\d\d:\d0  tailed_count\{k=\"v\"\}  \+5\n", tail.output)
    top = start("top", "--count", "200", *url)
    assert top.wait() == 0, top.output
    assert re.search(r"^tailed_count +counter +1$", top.output, re.MULTILINE)
