"""Small cases of public reports: the lines sent, the query, and the right answer.

The cases lie beside the project (`../shared/cases/cases.json`); without them there is nothing to run.
"""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.product import ROOT, VISIBLE_S, Starter, Up, get, wait_for

CASES: Final = ROOT.parent / "shared" / "cases" / "cases.json"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not CASES.is_file(), reason="NO CASES: ../shared/cases/cases.json is missing"),
]

Case = Mapping[str, Any]
#: Half of the shortest window: lines may reach the agent late, and are in buckets of their own.
SOON_S: Final = 30.0
_COUNTED = re.compile(r"\{i(?:%(\d+))?\}")


def _cases() -> dict[str, Case]:
    return {case["id"]: case for case in json.loads(CASES.read_text())} if CASES.is_file() else {}


def _ids(*without: str) -> list[str]:
    return [i for i, case in _cases().items() if "http" not in case and i not in without]


def _lines(case: Case, age_s: int = 0) -> Iterator[str]:
    """Yield the case's StatsD lines, `age_s` seconds old."""
    (first, *_) = sends = case["send"]
    if first.startswith("as "):
        sends = _cases()[first.removeprefix("as ")]["send"]
    late = f"|T{int(time.time()) - age_s}" if age_s else ""
    for i in range(case.get("times", 1)):
        for line in sends:
            yield _counted(line, i) + late


def _counted(line: str, i: int) -> str:
    return _COUNTED.sub(lambda m: str(i % int(m[1]) if m[1] else i), line)


def _answer(up: Up, query: str, at_s: float) -> dict[str, float]:
    """Labels as sorted JSON -> value."""
    data = up.api.data("query", query=query, time=at_s)
    return {json.dumps(s["metric"], sort_keys=True): float(s["value"][1]) for s in data["result"]}


def _shown(labels: str) -> str:
    """Return the labels as an API shows them that spells names with underscores."""
    as_underscores = {re.sub(r"[^a-zA-Z0-9_]", "_", k): v for k, v in json.loads(labels).items()}
    return json.dumps(as_underscores, sort_keys=True)


def _right(case: Case, found: Mapping[str, float]) -> bool:
    if "expect_values" in case:
        expected_values: list[float] = case["expect_values"]
        return sorted(found.values()) == expected_values
    expected = case["expect"]
    if isinstance(expected, Mapping):
        return all(found.get(_shown(labels)) == value for labels, value in expected.items())
    return list(found.values()) == [pytest.approx(expected, rel=1e-9)]


def _check(up: Up, case: Case) -> None:
    """Wait until the case's question has its right answer.

    It is of one time, soon after the lines: windows of a minute hold them however long they take.
    """
    seen: list[Mapping[str, float]] = [{}]
    at_s = time.time() + SOON_S

    def right() -> bool:
        seen.append(_answer(up, case["ask"], at_s))
        return _right(case, seen[-1])

    try:
        wait_for(right, case["ask"], VISIBLE_S)
    except AssertionError as e:
        few = dict(list(seen[-1].items())[:5])
        raise AssertionError(f"{case['ask']}: {few}, expected {case.get('expect')}") from e


@pytest.mark.parametrize("case_id", _ids("delta-over-restart", "timer-seconds", "unix-length-prefix"))
def test_lines_are_answered_right(product: Up, case_id: str) -> None:
    case = _cases()[case_id]
    product.send(_lines(case, case.get("ask_after_s", 0)))
    _check(product, case)


def test_a_delta_after_a_restart_adds_to_the_value_before(start: Starter) -> None:
    case = _cases()["delta-over-restart"]
    up = start.up()
    up.send(case["send"])
    at_s = time.time() + SOON_S
    wait_for(lambda: list(_answer(up, case["ask"], at_s).values()) == [105.0], "105 before", VISIBLE_S)
    assert up.terminate() == 0
    up = start.up()
    up.send(case["send_after"])
    _check(up, case)


def test_a_length_before_a_unix_datagram_is_unwrapped(start: Starter, tmp_path: Path) -> None:
    case = _cases()["unix-length-prefix"]
    path = tmp_path / "statsd.sock"
    up = start.up(environ={"METERHOUSE_AGENT__UNIX": str(path)})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(bytes.fromhex(case["unix_datagram_hex"]), str(path))
    _check(up, case)


def test_the_api_answers_long_requests_and_its_root(product: Up) -> None:
    long_regex = "|".join(f"value-{i:05d}" for i in range(900))
    match = urllib.parse.urlencode({"match[]": f'{{v=~"{long_regex}"}}'})
    assert get(f"{product.api.url}/api/v1/label/s/values?{match}")[0] == _cases()["long-get"]["expect_status"]
    assert get(f"{product.api.url}/")[0] == _cases()["root"]["expect_status"]
