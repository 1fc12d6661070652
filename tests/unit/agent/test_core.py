"""Which core runs, and that the log says so."""

from __future__ import annotations

import importlib.util
import logging
import sys
from typing import Literal

import pytest

from agent.core.factory import CoreError, open_core
from agent.core.python_core import PythonCore
from agent.runtime.logs import LOGGER, Log
from agent.settings import AgentSettings

BUILT = importlib.util.find_spec("agent.core._native.core") is not None


def opened(choice: Literal["auto", "native", "python"]) -> bool:
    """Return whether the native core runs."""
    core = open_core(AgentSettings(core=choice), None, lambda: None, Log())
    assert core.native is not isinstance(core, PythonCore)
    native = core.native
    core.close()
    return native


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "agent.core._native.core", None)


def test_the_native_core_runs_where_it_was_built(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    assert opened("auto") is BUILT
    assert f"core core={'native' if BUILT else 'python'}" in caplog.text


def test_the_python_core_runs_by_wish(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    assert opened("python") is False
    assert "core core=python" in caplog.text


@pytest.mark.usefixtures("not_built")
def test_without_a_compiler_the_python_core_runs(caplog: pytest.LogCaptureFixture) -> None:
    assert opened("auto") is False
    assert "core core=python reason=" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.usefixtures("not_built")
def test_a_native_core_that_is_not_there_is_an_error() -> None:
    with pytest.raises(CoreError, match=r"agent\.core = 'native': "):
        opened("native")
