"""A file of old lines, sent by a process that is killed with -9 in the middle and run again: exact."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

from tests.e2e.product import Process, Starter, Up, get, wait_for

#: A field that is ignored, so that few lines make many chunks.
PADDING = "x" * 20_000
LINES = 5_000


def _write(path: Path, start_s: int) -> None:
    with gzip.open(path, "wt", compresslevel=1) as file:
        for i in range(LINES):
            at = f"|#shard:{i % 3}|z{PADDING}|T{start_s + i % 60}\n"
            file.write(f"backfill.orders:{i % 7}|c{at}")
        file.write(f"backfill.temperature:21.5|g|T{start_s + 59}\nbackfill.bad:x|c|T{start_s}\n")


def _backfill(start: Starter, up: Up, path: Path) -> Process:
    return start("backfill", str(path), environ={"METERHOUSE_AGENT__FORWARD__URL": up.indexer})


def _chunks(state: Path) -> int:
    try:
        chunks: int = json.loads(state.read_bytes())["chunks"]
    except FileNotFoundError:
        return 0
    return chunks


def test_killed_in_the_middle_and_run_again_is_exact(product: Up, start: Starter, tmp_path: Path) -> None:
    start_s = int(time.time()) // 60 * 60 - 7_200
    path = tmp_path / "old.statsd.gz"
    _write(path, start_s)
    state = tmp_path / "old.statsd.gz.backfill"
    first = _backfill(start, product, path)
    wait_for(lambda: _chunks(state) > 0, f"a request is answered\n{first.output}", 240)
    first.kill()
    reached = _chunks(state)
    assert not json.loads(state.read_bytes())["finished"]
    second = _backfill(start, product, path)
    assert second.wait(300) == 3, second.output  # one bad line
    assert _chunks(state) > reached
    assert f"{path}:{LINES + 2}: bad_value" in second.output
    total = float(sum(i % 7 for i in range(LINES)))
    end_s = start_s + 60
    product.api.wait_until("sum(increase(backfill_orders[60s]))", end_s, total)
    assert product.api.one("last_over_time(backfill_temperature[60s])", end_s) == 21.5
    status, agents = get(f"{product.indexer}/status")
    assert status == 200
    assert b"backfill/" not in agents  # no bucket of the present waits for a file
    third = _backfill(start, product, path)
    assert third.wait(300) == 0, third.output
    assert "already sent" in third.output
    state.unlink()  # then identities alone keep it exact
    fourth = _backfill(start, product, path)
    assert fourth.wait(300) == 3, fourth.output
    assert "answered 409" in fourth.output
    assert product.api.one("sum(increase(backfill_orders[60s]))", end_s) == total


def test_histograms_of_openmetrics_answer_as_in_prometheus(
    product: Up, start: Starter, tmp_path: Path
) -> None:
    start_s = int(time.time()) // 60 * 60 - 7_200
    path = tmp_path / "old.om"
    lines = ["# TYPE backfill_seen counter", "# TYPE backfill_wait histogram"]
    for i, seen in enumerate((100, 110, 115, 4, 10)):  # 10 + 5 + 4 + 6
        at = start_s + 10 * i
        lines += [
            f"backfill_seen_total {seen} {at}",
            f'backfill_wait_bucket{{le="1"}} {5 + 6 * i} {at}',
            f'backfill_wait_bucket{{le="2"}} {5 + 9 * i} {at}',
            f'backfill_wait_bucket{{le="+Inf"}} {5 + 10 * i} {at}',
            f"backfill_wait_count {5 + 10 * i} {at}",
            f"backfill_wait_sum {2.5 * i} {at}",
        ]
    path.write_text("\n".join([*lines, "# EOF", ""]))
    process = _backfill(start, product, path)
    assert process.wait(300) == 0, process.output
    end_s = start_s + 60
    product.api.wait_until("increase(backfill_seen_total[60s])", end_s, 25.0)
    assert product.api.one("increase(backfill_wait_count[60s])", end_s) == 40.0
    assert product.api.one("increase(backfill_wait_sum[60s])", end_s) == 10.0
    quantile = "histogram_quantile(0.75, increase(backfill_wait_bucket[60s]))"
    assert product.api.one(quantile, end_s) == 1.5  # 30 of 40: half of the 12 between 1 and 2
