"""Lines from public reports (`../shared/cases`) through the whole product, with the values that are right."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.product import ROOT, VISIBLE_S, Starter, Up, wait_for

CASES: Final = ROOT.parent / "shared" / "cases" / "cases.json"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not CASES.is_file(), reason="NO SHARED CASES: ../shared/cases/cases.json is missing"),
]


def case(name: str) -> Any:
    (found,) = (case for case in json.loads(CASES.read_text()) if case["id"] == name)
    return found


def wait_until_shown(up: Up, query: str, value: float) -> None:
    wait_for(lambda: up.api.one(query, time.time()) == value, f"{query} == {value}", VISIBLE_S)


def test_gauges_below_zero_deltas_over_a_restart_and_datagrams_with_a_length(tmp_path: Path) -> None:
    negative, delta, prefixed = case("negative-gauge"), case("delta-over-restart"), case("unix-length-prefix")
    unix = str(tmp_path / "s")
    starter = Starter(tmp_path)
    try:
        up = starter.up(environ={"METERHOUSE_AGENT__UNIX": unix})
        up.send([*negative["send"], *delta["send"]])
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(bytes.fromhex(prefixed["unix_datagram_hex"]), unix)
        wait_until_shown(up, negative["ask"], negative["expect"])
        wait_until_shown(up, prefixed["ask"], prefixed["expect"])
        assert up.terminate() == 0
        up = starter.up()
        up.send(delta["send_after"])
        wait_until_shown(up, delta["ask"], delta["expect"])
        assert up.terminate() == 0
    finally:
        starter.clear()
