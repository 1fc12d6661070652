"""An example of refused lines: both cores keep it, and the log shows it."""

from __future__ import annotations

import logging

import pytest

from agent.aggregate.aggregator import SHOWN_BYTES
from agent.protocol.line import Reason
from agent.runtime.logs import LOGGER, Log
from agent.runtime.loop import Loop
from agent.settings import AgentSettings
from agent.telemetry.refused_lines import RefusedLines
from tests.support.cores.rows import CORES, new_core

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize("name", CORES)
def test_a_core_keeps_a_refused_line_until_it_is_taken(name: str) -> None:
    core = new_core(name, AgentSettings())
    assert core.take_refused() is None
    core.add(b"a:1|c\nb:x|c\nc:2|c", NOW_MS)
    assert core.take_refused() == (Reason.BAD_VALUE, b"b:x|c")
    assert core.take_refused() is None
    core.add(b"d:1|c", NOW_MS)
    assert core.take_refused() is None
    core.add(b"no colon \xff\0" + b"x" * 500, NOW_MS)
    assert core.take_refused() == (Reason.NO_VALUE, (b"no colon \xff\0" + b"x" * 500)[:SHOWN_BYTES])
    core.add(b"a:1|c:y|c:2|c", NOW_MS)  # of the samples of a line, the refused one
    assert core.take_refused() == (Reason.BAD_VALUE, b"a:y|c")
    core.close()


@pytest.mark.parametrize("name", CORES)
def test_a_flood_is_one_line_of_the_log(name: str, caplog: pytest.LogCaptureFixture) -> None:
    core = new_core(name, AgentSettings())
    with Loop() as loop, caplog.at_level(logging.INFO, LOGGER):
        refused = RefusedLines(core, loop, Log())
        core.add(b"a:1|c\n" + b"b:x|c\n" * 899, NOW_MS)
        refused.start()
        core.add(b"b:x\n|c", NOW_MS)
        refused.start()  # within ten seconds
        assert [r.getMessage() for r in caplog.records] == [
            "lines_refused lines=899 reason=bad_value example=b:x|c"
        ]
        refused.look()  # the stop
        assert caplog.records[1].getMessage().startswith("lines_refused lines=2 ")
    core.close()


def test_bytes_that_are_not_text_are_escaped(caplog: pytest.LogCaptureFixture) -> None:
    core = new_core("python", AgentSettings())
    with Loop() as loop, caplog.at_level(logging.INFO, LOGGER):
        core.add(b"a\xff\x1b[2J", NOW_MS)
        RefusedLines(core, loop, Log()).look()
    assert caplog.records[0].getMessage().endswith(r"example='a\\xff\x1b[2J'")
