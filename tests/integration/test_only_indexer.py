"""An indexer cannot know whether others write to its ClickHouse server: deletions then take whole days."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.test_indexer_http import Indexer

DAY_S = 86_400


@pytest.mark.parametrize(
    ("fixture", "only_indexer", "exact"),
    [("migrated_dsn", False, True), ("migrated_http_dsn", False, False), ("migrated_http_dsn", True, True)],
)
async def test_times_within_a_day(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, *, only_indexer: bool, exact: bool
) -> None:
    indexer = Indexer(request.getfixturevalue(fixture), tmp_path)
    await indexer.start(admin_api=True, only_indexer=only_indexer)
    try:
        today_s = int(time.time()) // DAY_S * DAY_S
        asked = {
            "org_id": 1,
            "metrics": [{"project_id": 1, "kind": "counters", "metric_id": 5}],
            "start_s": today_s - 3 * DAY_S + 3_600,
            "end_s": today_s - 3_600,
        }
        status, answer, _ = await indexer.post("/v1/deletions", json=asked)
        assert status == 200, answer
        days = (today_s - 2 * DAY_S, today_s - DAY_S)
        assert (answer["start_s"], answer["end_s"]) == ((asked["start_s"], asked["end_s"]) if exact else days)
    finally:
        await indexer.stop()
