"""A reload runs each action, in order, and returns their problems."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from agent.runtime.logs import Log
from agent.runtime.reload_actions import ReloadActions


def test_each_action_runs_and_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[str] = []

    async def good() -> Sequence[str]:
        ran.append("good")
        return []

    async def bad() -> Sequence[str]:
        return ["r.yml:3: wrong", "r.yml:4: wrong"]

    async def broken() -> Sequence[str]:
        raise OSError("no such file")

    reloads = ReloadActions(Log("test.reload"), needs_restart="the rest")
    for name, action in (("broken", broken), ("bad", bad), ("good", good)):
        reloads.add(name, action)
    with caplog.at_level(logging.INFO):
        problems = reloads.run_at_once()
    assert list(problems) == ["OSError: no such file", "r.yml:3: wrong", "r.yml:4: wrong"]
    assert ran == ["good"]
    said = [record.getMessage() for record in caplog.records]
    assert said[:2] == [
        "reload_failed what=broken problems=1 error='OSError: no such file'",
        "reload_failed what=bad problems=2 error='r.yml:3: wrong'",
    ]
    assert said[2].startswith("reload_ended reloaded=good failed=broken,bad ")
    assert said[2].endswith("needs_restart='the rest'")
