"""A reload takes the log level, and names the settings that need a restart."""

from __future__ import annotations

import logging

import msgspec
import pytest

from agent.cli.log_options import SettingsReload, changed_names
from agent.cli.run import AgentFile
from agent.config.load import ConfigError, load
from agent.runtime.logs import Log
from agent.runtime.reload_actions import ReloadActions

STARTED = load(AgentFile, "")


def reload(text: str, caplog: pytest.LogCaptureFixture) -> tuple[list[str], list[str]]:
    """Return the problems of a reload, and its lines."""
    reloads = ReloadActions(Log("test.reload"))
    reloads.add("settings", SettingsReload(STARTED, lambda: load(AgentFile, text), logging.INFO))
    problems = reloads.run_at_once()
    return list(problems), [record.getMessage() for record in caplog.records]


def test_the_level_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    for level, number in (("debug", logging.DEBUG), ("error", logging.ERROR), ("auto", logging.INFO)):
        problems, _ = reload(f"log.level = '{level}'", caplog)
        assert problems == []
        assert logging.getLogger("meterhouse.agent").getEffectiveLevel() == number
        assert logging.getLogger("a.library").getEffectiveLevel() == max(number, logging.WARNING)


def test_single_parts_have_levels_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    levels = "{'indexer.write' = 'debug', agent = 'error', 'shim.rules' = 'auto'}"
    text = f"log = {{level = 'warning', levels = {levels}}}"
    assert reload(text, caplog)[0] == []
    for name, number in {
        "indexer.write.batcher": logging.DEBUG,
        "indexer.service": logging.WARNING,
        "meterhouse.agent": logging.ERROR,
        "shim.rules.ticks": logging.INFO,
        "shim.http": logging.WARNING,
    }.items():
        assert logging.getLogger(name).getEffectiveLevel() == number, name
    assert reload("log.levels = {'indexer.write' = 'error'}", caplog)[0] == []
    for name, number in {"indexer.write.batcher": logging.ERROR, "meterhouse.agent": logging.INFO}.items():
        assert logging.getLogger(name).getEffectiveLevel() == number, name
    assert reload("", caplog)[0] == []
    assert logging.getLogger("indexer.write.batcher").getEffectiveLevel() == logging.INFO


@pytest.mark.parametrize("part", ["aiohttp", "indexer.", "Shim", "indexer write"])
def test_a_part_of_another_form_is_refused(part: str, caplog: pytest.LogCaptureFixture) -> None:
    (problem,) = reload(f"log.levels = {{'{part}' = 'debug'}}", caplog)[0]
    assert "log.levels" in problem


def test_others_are_named_without_their_values(caplog: pytest.LogCaptureFixture) -> None:
    text = "log = {format = 'json', level = 'info'}\n[agent.forward]\ntoken = 'hidden-word'\n[indexer]\nx = 1"
    problems, lines = reload(text, caplog)
    assert problems == []
    assert "settings_changed needs_restart=agent.forward.token,log.format" in lines
    assert "hidden-word" not in "".join(lines)


def test_an_error_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    reload("log.level = 'error'", caplog)
    problems, lines = reload("log.level = 'loud'", caplog)
    assert len(problems) == 1
    assert "log.level" in problems[0]
    assert logging.getLogger("shim").level == logging.ERROR
    with pytest.raises(ConfigError):
        load(AgentFile, "log.levle = 'info'")
    assert not any("settings_changed" in line for line in lines)


def test_nothing_differs_from_itself() -> None:
    assert list(changed_names(STARTED, msgspec.structs.replace(STARTED))) == []
