"""SIGHUP of agent, indexer and `up`: it reloads, ends nothing, and tells which changes need a restart."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.product import Starter, get, wait_for
from tests.e2e.services import start_agent

pytestmark = pytest.mark.e2e

RULES = "groups: [{name: one, rules: [{record: a, expr: b}]}]"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    starter.clear()


def test_rules_are_read_at_once_and_nothing_ends(start: Starter, tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(RULES)
    environ = {"METERHOUSE_SHIM__RULES__PATH": str(file), "METERHOUSE_SHIM__RULES__RELOAD_S": "3600"}
    up = start.up(environ=environ)

    def groups() -> list[str]:
        status, body = get(f"{up.api.url}/api/v1/rules")
        return [group["name"] for group in json.loads(body)["data"]["groups"]] if status == 200 else []

    wait_for(lambda: groups() == ["one"], "the rules", 180)
    file.write_text(RULES.replace("one", "other"))
    up.signal_group(signal.SIGHUP)
    wait_for(lambda: groups() == ["other"], "the changed rules", 180)
    up.find(r"reload_ended reloaded=rules,alertmanagers,settings,agent failed=nothing .*needs_restart=", 180)
    file.write_text("groups: [{")
    up.signal_group(signal.SIGHUP)
    up.find(r"reload_failed what=rules problems=1", 180)
    assert groups() == ["other"]


def test_an_agent_goes_on(start: Starter, tmp_path: Path) -> None:
    """It reads its mapping file again, and keeps the one before if the new one has an error."""
    file = tmp_path / "mapping.yml"
    file.write_text("mappings: [{match: a, name: b}]")
    agent, _ = start_agent(start, "http://127.0.0.1:9", "one", {"METERHOUSE_AGENT__MAPPING": str(file)})
    agent.find(r" mapping file=\S+ rules=1 ")
    file.write_text("mappings: [{match: a, name: c}, {match: d, name: e}]")
    agent.signal_group(signal.SIGHUP)
    agent.find(r" mapping file=\S+ rules=2 ")
    agent.find(r"reload_ended reloaded=settings,mapping failed=nothing .*needs_restart=settings")
    ops = "http://" + agent.find(r" ops=(\S+)")[1] + "/-/reload"
    file.write_text("mappings: [{match: a, name: c}, {match: d, name: e}, {match: f, name: g}]")
    assert get(ops)[0] == 405
    assert _post(ops) == 200
    agent.find(r" mapping file=\S+ rules=3 ")
    file.write_text("mappings: [{mach: a}]")
    agent.signal_group(signal.SIGHUP)
    agent.find(r"reload_failed what=mapping problems=1 .*the mapping before is kept")
    assert _post(ops) == 500


def _post(url: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=120) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as e:
        with e:
            return e.code


def test_logs_are_json_and_a_reload_takes_their_level(start: Starter, tmp_path: Path) -> None:
    """All parts of `up` do so, and the agent hears of a signal that its parent alone gets."""
    file = tmp_path / "meterhouse.toml"
    file.write_text("log = {format = 'json', level = 'info'}")
    up = start.up(environ={"METERHOUSE_CONFIG": str(file)})
    up.find('"level":"info","logger":"agent","message":"listening"', 180)
    up.find('"logger":"indexer.service","message":"listening","fields":{"part":"indexer","url":', 180)
    file.write_text("log = {level = 'loud'}")
    os.kill(up.pid, signal.SIGHUP)
    up.find('"logger":"shim.reload","message":"reload_failed","fields":{"what":"settings","problems":1,', 180)
    up.find('"logger":"agent","message":"reload_failed","fields":{"what":"settings","problems":1,', 180)
    file.write_text("log = {format = 'text', level = 'error'}")
    os.kill(up.pid, signal.SIGHUP)
    up.find('"message":"settings_changed","fields":{"needs_restart":"log.format"}', 180)
    lines = [line for line in up.output.splitlines() if line.startswith("{")]
    assert all({"time", "level", "logger", "message", "fields"} <= set(json.loads(line)) for line in lines)
