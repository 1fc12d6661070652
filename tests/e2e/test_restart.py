"""The product over a restart: an answer shown before needs no statement the first time it is shown again."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.product import VISIBLE_S, Starter, Up, get, wait_for

pytestmark = pytest.mark.e2e

_LOOKUPS = 'catalog_lookups_total{source="store"}'


def _asked(up: Up, start_s: int) -> Any:
    grid = {"query": "sum(increase(kept[1m]))", "start": start_s, "end": start_s + 300, "step": 10}
    status, body = get(f"{up.api.url}/api/v1/query_range?{urllib.parse.urlencode({**grid, 'explain': 1})}")
    assert status == 200, body
    return json.loads(body)


def _counted(up: Up, name: str) -> float:
    text = get(f"{up.api.url}/metrics")[1].decode()
    found = re.search(rf"^meterhouse_shim_{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _is_quiet(up: Up) -> bool:
    """Return whether nothing was looked up in the catalog for a second."""
    looked = _counted(up, _LOOKUPS)
    time.sleep(1.0)
    return _counted(up, _LOOKUPS) == looked


def test_what_was_shown_before_is_there_again(tmp_path: Path) -> None:
    starter = Starter(tmp_path)
    try:
        up = starter.up()
        start_s = int(time.time()) // 3_600 * 3_600 - 7_200
        up.send(f"kept:1|c|#h:{h}|T{start_s + 10 * b}" for b in range(30) for h in range(3))
        up.api.wait_until("sum(increase(kept[1m]))", start_s + 300, 18.0)
        wait_for(lambda: not _asked(up, start_s)["explain"]["statements"], "all is in memory", VISIBLE_S)
        before = _asked(up, start_s)["data"]
        assert up.terminate() == 0
        up = starter.up()
        filled = 'block_fills_total{outcome="kept"}'
        wait_for(lambda: _counted(up, filled) > 0, "what was asked is there again", VISIBLE_S)
        # Series that others register meanwhile, as the indexer does its own `up`, change nothing.
        instance = up.indexer.removeprefix("http://")
        up.api.wait_until(f'up{{instance="{instance}"}}', int(time.time()) + 60, 1.0)
        wait_for(lambda: _is_quiet(up), "no query of before is looked up any more", VISIBLE_S)
        looked = _counted(up, _LOOKUPS)
        after = _asked(up, start_s)
        assert after["data"] == before
        assert after["explain"]["statements"] == []
        assert _counted(up, _LOOKUPS) == looked
        up.send(f"kept:1|c|#h:{h}|T{start_s + 290}" for h in range(3))
        up.api.wait_until("sum(increase(kept[1m]))", start_s + 300, 21.0)
        assert up.terminate() == 0
    finally:
        starter.clear()
