"""The agent of `meterhouse up`: its directories, and the pauses before a dead one is started again.

The processes: tests/e2e/test_stopping.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.settings import AgentSettings, SpoolSettings
from shim.allinone.agent_keeper import pause_s
from shim.allinone.agent_process import NO_PROCESS, AgentProcess, ChildError
from shim.allinone.up import _agent_paths
from shim.cli.serve import File


def test_pauses_grow_to_a_bound() -> None:
    assert [pause_s(n) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]
    assert pause_s(7) == pause_s(10_000) == 30.0


async def test_a_machine_without_memory_for_the_agent_is_an_end_like_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def no_memory(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("asyncio.create_subprocess_exec", no_memory)
    agent = AgentProcess([], {})
    with pytest.raises(ChildError, match="did not start: Resource temporarily unavailable"):
        await agent.start()
    assert await agent.wait() == NO_PROCESS
    assert await agent.stop(1) is None


def test_the_agent_has_its_state_and_a_spool_beside_the_store() -> None:
    """Else its unsent frames end with it, after a kill of both."""
    given = _agent_paths(File(), Path("/var/m/chdb"))
    assert given == {
        "METERHOUSE_AGENT__STATE_DIR": "/var/m/chdb.agent",
        "METERHOUSE_AGENT__SPOOL__PATH": "/var/m/chdb.spool",
    }
    own = AgentSettings(state_dir="/a", spool=SpoolSettings(path="/s"))
    assert _agent_paths(File(agent=own), Path("/var/m/chdb")) == {}
    assert _agent_paths(File(), None) == {}
