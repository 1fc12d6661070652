"""A store, a journal and settings of commit 3b2ee7e, opened with today's code: the answers are the same."""

from __future__ import annotations

import json
import tarfile
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.product import Starter, Up

pytestmark = pytest.mark.e2e

FIXTURE: Final = Path(__file__).parents[1] / "fixtures" / "store_3b2ee7e"
#: The end of the fixture's 30 minutes, Unix seconds.
END_S: Final = 1_795_825_800
#: How old the fixture may become before a line in its time is moved.
TEN_YEARS_S: Final = 10 * 366 * 86_400


def _open_old_store(start: Starter) -> Up:
    """Start the product on a copy of the fixture's data directory with the fixture's settings."""
    with tarfile.open(FIXTURE / "data.tar.xz") as archive:
        archive.extractall(start.folder, filter="tar")
    return start.up(
        environ={
            "METERHOUSE_CONFIG": str(FIXTURE / "meterhouse.toml"),
            "METERHOUSE_AGENT__AGGREGATE__LATENESS_S": str(TEN_YEARS_S),
        }
    )


def _sorted(data: Any) -> Any:
    """Return the answer with its series in the order of their labels: no order is promised."""
    if isinstance(data, dict) and "result" in data:
        result = sorted(data["result"], key=lambda one: json.dumps(one["metric"], sort_keys=True))
        return {**data, "result": result}
    return data


def _post_frame(up: Up) -> int:
    url = up.find(r"frames +(http\S+)")[1]
    request = urllib.request.Request(url, data=(FIXTURE / "frame.bin").read_bytes(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as response:
        status: int = response.status
        return status


def test_an_old_store_answers_the_same(start: Starter) -> None:
    up = _open_old_store(start)
    for asked in json.loads((FIXTURE / "answers.json").read_text()):
        found = up.api.data(asked["path"], **asked["parameters"])
        assert _sorted(found) == _sorted(asked["data"]), asked["parameters"]


def test_an_old_journal_knows_its_frames_and_the_store_goes_on(start: Starter) -> None:
    up = _open_old_store(start)
    total = "sum(increase(old_framed[30m]))"
    assert up.api.one(total, END_S) == 7.0
    assert _post_frame(up) == 200  # the journal of then knows it: stored already
    up.send([f"old.framed:5|c|#a:b|T{END_S - 600}"])
    up.api.wait_until(total, END_S, 12.0)
    assert up.terminate() == 0
