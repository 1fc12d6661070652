"""Cells in memory in the running product: the lines of now show in them, without a statement."""

from __future__ import annotations

import json
import time
import urllib.parse
from typing import Any, Final

import pytest

from tests.e2e.product import VISIBLE_S, Up, get, wait_for

pytestmark = pytest.mark.e2e

BUCKETS: Final = 30
HOSTS: Final = 3


def _lines(first_s: int, value: int) -> list[str]:
    return [f"held:{value}|c|#h:{h}|T{first_s + 10 * b}" for b in range(BUCKETS) for h in range(HOSTS)]


def _ask(up: Up, start_s: int, **more: str) -> tuple[Any, Any]:
    """Return the points of a sum over the buckets, and the parts that were read where."""
    end_s = start_s + 10 * BUCKETS
    grid = {"start": start_s, "end": end_s, "step": 10}
    asked = {"query": "sum(increase(held[1m]))", "explain": 1, **grid, **more}
    status, body = get(f"{up.api.url}/api/v1/query_range?{urllib.parse.urlencode(asked)}")
    assert status == 200, body
    answer = json.loads(body)
    return answer["data"]["result"], answer["explain"]


def _agrees(up: Up, start_s: int) -> bool:
    """Return whether memory and a statement give the same; other buckets' lines may be in a later frame."""
    by_statement, explained = _ask(up, start_s, nocache="1")
    assert explained["statements"]
    return bool(by_statement == _ask(up, start_s)[0])


def test_new_lines_show_in_what_is_kept_in_memory(product: Up) -> None:
    start_s = int(time.time()) // 3_600 * 3_600 - 7_200
    product.send(_lines(start_s, 1))
    last_s = start_s + 10 * BUCKETS
    product.api.wait_until("sum(increase(held[1m]))", last_s, 6.0 * HOSTS)

    def in_memory() -> bool:
        explained = _ask(product, start_s)[1]
        return bool(explained["from_memory"]) and not explained["statements"]

    wait_for(in_memory, "no statement is needed", VISIBLE_S)
    for added, total in ((7, 8.0), (2, 10.0)):
        product.send(_lines(start_s, added))

        def shows(total: float = total) -> bool:
            result, explained = _ask(product, start_s)
            assert not explained["statements"]
            return float(result[0]["values"][-1][1]) == 6.0 * HOSTS * total

        wait_for(shows, f"{total} of each", VISIBLE_S)
        wait_for(lambda: _agrees(product, start_s), "memory has what is stored", VISIBLE_S)
    _, metrics = get(f"{product.api.url}/metrics")
    assert b'meterhouse_shim_block_lookups_total{result="hit"}' in metrics
    assert "block_add_failed" not in product.output
