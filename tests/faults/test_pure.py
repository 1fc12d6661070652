"""The truth tells a lost line from one that may be lost, and a schedule repeats."""

from __future__ import annotations

from itertools import islice

from tests.faults.faults import FAULTS
from tests.faults.schedule import around, endless
from tests.faults.truth import Truth


def test_a_promised_line_that_is_lost_or_doubled_is_wrong() -> None:
    truth = Truth("t", 0)
    assert len(truth.lines("tcp", 3)) == 12
    truth.promise()
    assert truth.wrong("c", {"0-tcp": 3.0}) == []
    assert truth.wrong("c", {"0-tcp": 2.0}) == ["t.c: batch 0-tcp: 2 of 3 lines (promised)"]
    assert truth.wrong("c", {"0-tcp": 4.0}) == ["t.c: batch 0-tcp: 4 of 3 lines (promised)"]
    assert truth.wrong("c", {}) == ["t.c: batch 0-tcp: 0 of 3 lines (promised)"]
    assert truth.wrong("c", {"0-tcp": 3.0, "x": 1.0}) == ["t.c: batch x was never sent"]


def test_only_lines_since_the_last_promise_of_a_dead_agent_may_be_lost() -> None:
    truth = Truth("t", 0)
    truth.lines("udp", 3)
    truth.promise()
    truth.lines("udp", 2)
    truth.messages(2)
    truth.risk()
    truth.lines("udp", 1)
    whole = {"0-udp": 3.0, "1-udp": 2.0, "2-messages": 2.0, "3-udp": 1.0}
    assert truth.wrong("d", whole) == []
    assert truth.wrong("d", whole | {"1-udp": 0.0}) == []
    assert truth.wrong("d", whole | {"1-udp": 3.0}) == ["t.d: batch 1-udp: 3 of 2 lines (may be lost)"]
    for label in ("0-udp", "2-messages", "3-udp"):
        assert len(truth.wrong("d", whole | {label: 0.0})) == 1


def test_live_lines_have_no_time_and_a_question_of_their_own() -> None:
    truth = Truth("t", 7_200)
    (line, *_), (live, *_) = truth.lines("tcp", 1), truth.lines("live", 1)
    assert (line, live) == ("t.c:1|c|#batch:0-tcp|T7200", "t.live.c:1|c|#batch:1-live")
    truth.promise()
    assert truth.wrong("c", {"0-tcp": 1.0}) == truth.wrong("c", {"1-live": 1.0}, live=True) == []
    assert truth.wrong("c", {}, live=True) == ["t.live.c: batch 1-live: 0 of 1 lines (promised)"]
    asked = [(q.query, q.at) for q in truth.questions(20_000.0) if q.kind == "c"]
    assert asked == [
        ("sum by (batch) (increase(t_c[3600s]))", 10_800),
        ("sum by (batch) (increase(t_live_c[14400s]))", 23_660.0),
    ]


def test_a_schedule_repeats_by_its_seed() -> None:
    faults = list(FAULTS)
    assert around("link_cut", 1) == around("link_cut", 1) != around("link_cut", 2)
    first = [steps for _, steps in islice(endless(faults, 7), len(faults))]
    assert first == [steps for _, steps in islice(endless(faults, 7), len(faults))]
    assert {step.fault for steps in first for step in steps if step.action == "begin"} == set(faults)
