"""Numbers for the web page out of an agent's /metrics."""

from __future__ import annotations

import http.client
import urllib.request

import pytest

from shim.allinone.agent_numbers import AgentNumbers, agent_numbers

TEXT = """\
# HELP meterhouse_agent_lines_total Lines received, good and bad.
# TYPE meterhouse_agent_lines_total counter
meterhouse_agent_lines_total 12
# HELP meterhouse_agent_bad_lines_total Lines refused, by reason.
# TYPE meterhouse_agent_bad_lines_total counter
meterhouse_agent_bad_lines_total{reason="no_type"} 2
meterhouse_agent_bad_lines_total{reason="empty_name"} 0
meterhouse_agent_bad_lines_total{reason="of_a_newer_agent"} 1
# HELP meterhouse_agent_skipped_lines_total Events.
# TYPE meterhouse_agent_skipped_lines_total counter
meterhouse_agent_skipped_lines_total{kind="event"} 3
meterhouse_agent_skipped_lines_total{kind="mapping"} 4
# HELP meterhouse_agent_spool_bytes Bytes of the files in agent.spool.path.
# TYPE meterhouse_agent_spool_bytes gauge
meterhouse_agent_spool_bytes 1024
"""


def test_sums_over_labels_and_reasons() -> None:
    found = agent_numbers(TEXT)
    numbers = found["numbers"]
    assert (numbers["lines"], numbers["skippedLines"], numbers["spoolBytes"], numbers["lostLines"]) == (
        12,
        7,
        1024,
        0,
    )
    assert found["refused"] == [
        {"reason": "no_type", "lines": 2},
        {"reason": "of_a_newer_agent", "lines": 1},
    ]


def test_an_agent_that_dies_within_its_answer_has_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: object, **__: object) -> None:
        raise http.client.IncompleteRead(b"# HELP")

    monkeypatch.setattr(urllib.request, "urlopen", cut_off)
    assert "does not answer" in AgentNumbers(lambda: "http://127.0.0.1:1/metrics", None)()["missing"]
