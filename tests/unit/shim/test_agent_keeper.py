"""The pauses before a dead agent is started again. The processes: tests/e2e/test_stopping.py."""

from __future__ import annotations

from shim.allinone.agent_keeper import pause_s


def test_pauses_grow_to_a_bound() -> None:
    assert [pause_s(n) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]
    assert pause_s(7) == pause_s(10_000) == 30.0
