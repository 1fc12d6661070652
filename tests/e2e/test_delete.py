"""`meterhouse delete` on the running product: counts, asks, deletes; restarts and kill -9 change nothing."""

from __future__ import annotations

import itertools
import os
import pty
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.product import PROGRAM, Starter, Up, wait_for

pytestmark = pytest.mark.e2e

START: Final = int(time.time()) // 86_400 * 86_400 - 86_400  # rows of 10 s are kept for days
BUCKETS: Final = 60
SERIES: Final = 50
ENVIRON: Final = {"METERHOUSE_SHIM__ADMIN_API": "true"}


@pytest.fixture
def up(start: Starter) -> Up:
    """Provide a product that allows deletions, with counters in BUCKETS buckets."""
    made = start.up(environ=ENVIRON)
    send(made)
    return made


def send(up: Up, kept: int = 7) -> None:
    lines = (
        f"deleted.count:{series}|c|#k:{series},odd:{series % 2}|T{START + bucket * 10 + 3}"
        for bucket in range(BUCKETS)
        for series in range(SERIES)
    )
    up.send([*lines, f"kept.count:7|c|T{START + 3}"])
    up.api.wait_until("sum(increase(deleted_count[10m]))", START + 600, sum(range(SERIES)) * BUCKETS)
    up.api.wait_until("sum(increase(kept_count[10m]))", START + 600, kept)


def odd(buckets: int = BUCKETS) -> float:
    """Return the sum of the counters with the label odd="1"."""
    return sum(range(1, SERIES, 2)) * buckets


def total(up: Up, seconds: int = 600) -> float | None:
    return up.api.one(f"sum(increase(deleted_count[{seconds}s]))", START + seconds)


def test_the_command(up: Up, start: Starter) -> None:
    url, even = ("--url", up.api.url), 'deleted_count{odd="0"}'
    counted = start("delete", even, *url, "--dry-run", "--from", str(START + 100), "--to", str(START + 400))
    assert counted.wait() == 0, counted.output
    assert f"{even}: 25 series, " in counted.output
    unasked = start("delete", even, *url)
    assert unasked.wait() == 2
    assert "the terminal cannot be asked: expected --yes" in unasked.output
    for arguments, status, told in (
        (("x{", *url), 1, "bad_data"),
        (("x", "--from", "now", "--to", "now-1h"), 2, "--to: expected a time after --from"),
        (("x", "--url", "http://127.0.0.1:9"), 1, "is `meterhouse up` running?"),
    ):
        refused = start("delete", *arguments)
        assert (refused.wait(), told in refused.output) == (status, True), refused.output
    assert answered("no", "delete", even, *url) == (1, "nothing was deleted")
    assert total(up) == sum(range(SERIES)) * BUCKETS
    part = start("delete", even, *url, "--yes", "--from", str(START + 100), "--to", str(START + 400))
    assert part.wait() == 0, part.output
    assert total(up) == odd() + (sum(range(SERIES)) - odd(1)) * 30
    status, last = answered("y", "delete", even, "deleted_count", *url)
    assert (status, last.startswith("deleted: 50 series, ")) == (0, True)
    assert total(up) is None
    again = start("delete", "deleted_count", *url)
    assert (again.wait(), "deleted: 0 series, 0 rows" in again.output) == (0, True), again.output
    up.terminate()
    restarted = start.up(environ=ENVIRON)
    assert total(restarted) is None
    assert restarted.api.data("label/__name__/values", start=START, end=START + 600) == ["kept_count"]
    send(restarted, 14)  # late lines are new data


def test_killed_in_the_middle(up: Up, start: Starter) -> None:
    asked = urllib.parse.urlencode(
        {"match[]": 'deleted_count{odd="0"}', "start": START + 5, "end": START + 395}
    )
    url = f"{up.api.url}/api/v1/admin/tsdb/delete_series"

    def delete() -> None:
        with suppress(OSError), urllib.request.urlopen(url, asked.encode(), timeout=120) as response:
            response.read()

    asking = threading.Thread(target=delete)
    asking.start()
    data = start.folder / "data"
    wait_for(lambda: _has_mutation(data) or not asking.is_alive(), "a deletion has begun", 180)
    up.clear()
    asking.join()
    restarted = start.up(environ=ENVIRON)
    done = start("delete", 'deleted_count{odd="0"}', "--url", restarted.api.url, "--yes", "--from",
                 str(START + 5), "--to", str(START + 395))  # fmt: skip
    assert done.wait() == 0, done.output
    expected = odd() + (sum(range(SERIES)) - odd(1)) * (BUCKETS - 38)  # 10 to 390 s
    assert total(restarted) == expected
    at = START + 86_400
    for seconds in (60, 3_600, 86_400):
        data_of_day = restarted.api.data(
            "query", query="sum(increase(deleted_count[1d]))", time=at, granularity=seconds
        )
        assert float(data_of_day["result"][0]["value"][1]) == expected, seconds


def test_exported_deleted_and_sent_again(up: Up, start: Starter) -> None:
    up.send(
        f"deleted.level:{bucket - series}|g|#k:{series}|T{START + bucket * 10 + 3}"
        for bucket in range(BUCKETS)
        for series in range(10)
    )
    up.api.wait_until("count(count_over_time(deleted_level[10m]))", START + 600, 10)
    queries = (
        "increase(deleted_count[20s])",
        "increase(deleted_count[5m])",
        "last_over_time(deleted_level[10s])",
    )
    before = [up.api.range(query, START, START + 600, 10) for query in queries]
    times = ("--url", up.api.url, "--start", str(START), "--end", str(START + 600))
    for file in ("x.csv", "x.om"):
        exported = start("export", '{__name__=~"deleted_.*"}', file, *times)
        assert exported.wait() == 0, exported.output
    _check_order((start.folder / "x.om").read_text())
    deleted = start("delete", "deleted_count", "deleted_level", "--url", up.api.url, "--yes")
    assert deleted.wait() == 0, deleted.output
    assert [up.api.range(query, START, START + 600, 10) for query in queries] == [{}, {}, {}]
    sent = start("backfill", "x.csv", environ={"METERHOUSE_AGENT__FORWARD__URL": up.indexer})
    assert sent.wait() == 0, sent.output
    up.api.wait_until("sum(increase(deleted_count[10m]))", START + 600, sum(range(SERIES)) * BUCKETS)
    up.api.wait_until("sum(count_over_time(deleted_level[10m]))", START + 600, 10 * BUCKETS)
    after = [up.api.range(query, START, START + 600, 10) for query in queries]
    for old, new in zip(before, after, strict=True):
        # A counter that was 0 is not in the file.
        assert {labels: points for labels, points in old.items() if any(points.values())} == new


def _has_mutation(data: Path) -> bool:
    """Return whether a table has a mutation; folders of parts come and go meanwhile."""
    return any(re.match(r"mutation_.*\.txt$", file) for _, _, files in os.walk(data) for file in files)


def _check_order(text: str) -> None:
    """Fail unless the points of each series are together and ascend in time."""
    series = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    found = [(left.rpartition(" ")[0], int(at)) for left, _, at in series]
    groups = [
        (name, [at for _, at in points]) for name, points in itertools.groupby(found, lambda one: one[0])
    ]
    assert len({name for name, _ in groups}) == len(groups) == SERIES - 1 + 10
    assert all(times == sorted(set(times)) for _, times in groups)


def answered(text: str, *arguments: str) -> tuple[int, str]:
    """Run a command in a terminal, answer its question; return its status and last line."""
    ours, theirs = pty.openpty()
    environ = {k: v for k, v in os.environ.items() if not k.startswith("METERHOUSE_")}
    with subprocess.Popen(
        [*PROGRAM, *arguments], stdin=theirs, stdout=subprocess.PIPE, env=environ, text=True
    ) as process:
        os.write(ours, f"{text}\n".encode())
        out, _ = process.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    return process.returncode, out.splitlines()[-1].rpartition("[y/N] ")[2]
