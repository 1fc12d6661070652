"""Damaged parts of ClickHouse: reading one is an error, never a wrong number; everything else works."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.product import get, send_tcp, wait_for
from tests.faults.actors.clients import past_hour
from tests.faults.actors.entrance import PATIENT_S
from tests.faults.actors.up import UpHouse

pytestmark = pytest.mark.e2e

LINES = 600


@pytest.fixture
def up(tmp_path: Path) -> Iterator[UpHouse]:
    house = UpHouse(tmp_path)
    try:
        house.start()
        yield house
    finally:
        house.clear()


def _asked(up: UpHouse, query: str, at: int) -> tuple[int, float | None]:
    """Return an answer's status, and its only value."""
    text = urllib.parse.urlencode({"query": query, "time": at})
    status, body = get(f"{up.api.url}/api/v1/query?{text}", 60)
    found = json.loads(body)["data"]["result"] if status == 200 else []
    return status, float(found[0]["value"][1]) if found else None


def _damage(data: Path) -> int:
    """Flip a bit in the middle of each part with rows of counters; return how many there were."""
    parts = [
        file
        for file in data.rglob("*.bin")
        if "`value` SimpleAggregateFunction(sum" in (file.parent / "columns.txt").read_text()
        and file.name in ("data.bin", "value.bin")
    ]
    for file in parts:
        damaged = bytearray(file.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        file.write_bytes(damaged)
    return len(parts)


def _send(up: UpHouse, metric: str, kind: str, start_s: int) -> None:
    """Send lines of the hour, none at its beginning: a range is open there."""
    lines = [f"{metric}:1|{kind}|#k:{i % 50}|T{start_s + 1 + i}" for i in range(LINES)]
    send_tcp(up.tcp, lines)
    up.sent_lines += len(lines)
    up.wait_until_promised(acknowledged=True)


def test_a_flipped_bit_is_an_error_and_not_a_wrong_number(up: UpHouse) -> None:
    """Nothing is asked before the damage, so that no cache has an answer."""
    start_s = past_hour()
    at = start_s + 3_600
    _send(up, "hit", "c", start_s)
    _send(up, "safe", "g", start_s)
    up.up.kill()
    assert _damage(up.folder / "data") > 0
    up.restart()
    status, value = _asked(up, "sum(increase(hit[1h]))", at)
    assert status >= 500, (status, value)
    assert _asked(up, "sum(count_over_time(safe[1h]))", at) == (200, LINES)
    _send(up, "later", "g", start_s)
    later = "sum(count_over_time(later[1h]))"
    wait_for(lambda: _asked(up, later, at) == (200, LINES), "later lines are stored", PATIENT_S)
