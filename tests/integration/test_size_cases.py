"""The cases of size among those of public reports (../shared/cases/cases.json), embedded and over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from shim.model.labels import Labels, make
from tests.integration.test_catalog_sizes import KEPT
from tests.support.pipeline import Pipeline
from tests.support.worlds import migrated

CASES: Final = Path(__file__).parents[3] / "shared" / "cases" / "cases.json"
NOW_S: Final = 1_790_000_000

pytestmark = pytest.mark.skipif(not CASES.is_file(), reason=f"{CASES} is not there")


def cases() -> list[dict[str, Any]]:
    if not CASES.is_file():
        return []
    return [case for case in json.loads(CASES.read_text()) if case["id"].startswith("size-")]


@pytest.fixture(scope="module", params=["embedded", "http"])
def loaded(request: pytest.FixtureRequest, chdb_path: Path, clickhouse_port: int) -> Iterator[Pipeline]:
    """All that the cases send, each thing once."""
    dsn = {
        "embedded": f"chdb://{chdb_path}?database=size_cases",
        "http": f"http://127.0.0.1:{clickhouse_port}/size_cases",
    }[request.param]
    with migrated(dsn, pool=2, kept=KEPT) as store:
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        for line, times in {line: case["times"] for case in cases() for line in case["send"]}.items():
            pipeline.send(f"{_filled(line, i)}|T{NOW_S - 20}" for i in range(times))
        yield pipeline
        pipeline.close()


def _filled(line: str, i: int) -> str:
    return line.replace("{i}", str(i)).replace("{i%60}", str(i % 60)).replace("{i%7}", str(i % 7))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["id"])
def test_the_answer_is_the_case_s(loaded: Pipeline, case: dict[str, Any]) -> None:
    want = case["expect"]
    found = loaded.instant(case["ask"], NOW_S)
    if not isinstance(want, dict):
        assert found == {(): want}
        return
    expected: dict[Labels, float] = {make(json.loads(labels)): n for labels, n in want.items()}
    assert {labels: n for labels, n in found.items() if labels in expected} == expected
