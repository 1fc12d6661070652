"""Random requests: each has an answer, none is answered 500, and nothing is logged as a mistake of ours.

For minutes instead of seconds: python -m tests.support.http_random SECONDS
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from indexer.clickhouse.store import open_store
from tests.support.http_random import run


@pytest.mark.parametrize(("seed", "tokens"), [("first", False), ("second", True)])
async def test_every_request_has_an_answer(
    migrated_dsn: str, tmp_path: Path, seed: str, tokens: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(migrated_dsn, pool=6)
    try:
        report = await run(store, tmp_path, seed, seconds=0, min_requests=400, tokens=tokens)
    finally:
        store.close()
    assert not report.failures
    assert {200, 400, 404, 405, 401 if tokens else 415} <= set(report.statuses)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR or r.exc_info]
