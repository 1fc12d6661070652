"""Which indexer gets a frame where one URL leads to several, and as how often released."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.forward.channel import Answer, Outcome, judge
from agent.forward.delivery import Delivery
from agent.forward.one_indexer import OneIndexer
from agent.forward.spool.record import EncodedFrame
from agent.runtime.logs import Log
from agent.wire.addressee import FOR_HEADER
from agent.wire.release import HOP_HEADER, LOST_HOPS_HEADER, MAX_HOP
from tests.support.load_balancer import LoadBalancer

FIRST, SECOND, THIRD = (EncodedFrame(f"a/1/{n}", b"%d" % n, rows=1, number=n) for n in (1, 2, 3))
FAILOVER_S = 10.0


class Agent:
    """A delivery over a load balancer. `unsent` and `now_s` are for the test to set."""

    def __init__(
        self, directory: Path | None = None, *, journals_lost: bool = False, unsent: int = 0
    ) -> None:
        self.now_s = 0.0
        self.unsent = unsent
        self.balancer = LoadBalancer()
        one = OneIndexer(
            "http://balancer",
            Log(),
            directory,
            unsent=lambda: self.unsent,
            failover_s=FAILOVER_S,
            journals_lost=journals_lost,
            clock_s=lambda: self.now_s,
        )
        self.one = one
        self.delivery = Delivery(self.balancer.channel(), one=one)
        self.unsent = 1

    def send(self, *frames: EncodedFrame, to: Sequence[str], status: int | Outcome = 200) -> list[Outcome]:
        """Send frames; each request goes to the next of `to`, again and again."""
        self.balancer.route(to, status)
        return [answer.outcome for answer in self.delivery.send(frames)]

    @property
    def taken(self) -> list[tuple[str, bytes, int]]:
        return self.balancer.taken


def test_each_frame_goes_to_the_one_that_answered_first() -> None:
    agent = Agent()
    assert agent.send(FIRST, to="ab") == [Outcome.ACCEPTED]
    assert agent.send(SECOND, to="ba") == [Outcome.ACCEPTED]
    assert agent.send(THIRD, to="bbbbb") == [Outcome.MISDIRECTED]
    assert agent.taken == [("b", b"1", 0), ("b", b"2", 0)] or agent.taken == [("a", b"1", 0), ("a", b"2", 0)]


def test_another_one_gets_a_frame_that_was_sent_as_a_released_one() -> None:
    agent = Agent()
    assert agent.send(FIRST, to="a", status=Outcome.TIMEOUT) == [Outcome.TIMEOUT]
    agent.now_s = FAILOVER_S - 1
    assert agent.send(FIRST, to="b") == [Outcome.MISDIRECTED]
    agent.now_s = FAILOVER_S
    assert agent.send(FIRST, SECOND, to="b") == [Outcome.ACCEPTED] * 2
    assert agent.taken == [("a", b"1", 0), ("b", b"1", 1), ("b", b"2", 0)]


def test_the_one_stays_while_it_answers_at_all() -> None:
    agent = Agent()
    for now_s in range(0, 100, 5):
        agent.now_s = float(now_s)
        assert agent.send(FIRST, to="a", status=503) == [Outcome.BUSY]
        assert agent.send(SECOND, to="b") == [Outcome.MISDIRECTED]
    assert {name for name, *_ in agent.taken} == {"a"}


def test_changes_outlive_the_agent_and_count_for_its_earlier_frames(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.send(FIRST, to="a", status=503)
    agent.now_s = FAILOVER_S
    agent.send(FIRST, to="b", status=503)
    again = Agent(tmp_path, unsent=1)
    recovered = EncodedFrame(FIRST.identity, FIRST.data, rows=1)
    assert again.send(recovered, to="c") == [Outcome.MISDIRECTED]
    again.now_s = FAILOVER_S
    assert again.send(recovered, SECOND, to="c") == [Outcome.ACCEPTED] * 2
    assert [hop for _, data, hop in agent.taken + again.taken if data == b"1"] == [0, 1, 2]
    assert again.taken[-1] == ("c", b"2", 0)


def test_changes_are_counted_anew_once_no_frame_is_unsent(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.send(FIRST, to="a", status=503)
    agent.now_s = FAILOVER_S
    agent.send(FIRST, to="b")
    agent.one.settled()
    agent.unsent = 0
    agent.one.settled()
    agent.unsent = 1
    agent.send(SECOND, to="b", status=503)
    agent.send(SECOND, to="b")
    assert agent.taken[-2:] == [("b", b"2", 0)] * 2
    assert Agent(tmp_path).one.headers(EncodedFrame("a/0/9", b"", rows=0)) == {FOR_HEADER: "b"}


def test_a_frame_that_was_released_too_often_waits_and_new_ones_do_not() -> None:
    agent = Agent(journals_lost=True)
    names = [f"indexer{n}" for n in range(MAX_HOP + 2)]
    for at, name in enumerate(names):
        agent.now_s = FAILOVER_S * 2**at  # each change takes twice as long
        agent.send(FIRST, to=[name], status=503)
    assert [hop for *_, hop in agent.taken] == list(range(MAX_HOP + 1))
    assert agent.send(FIRST, SECOND, to=[names[-1]]) == [Outcome.MISDIRECTED, Outcome.ACCEPTED]
    assert agent.taken[-1] == (names[-1], b"2", 0)


def test_the_operator_says_that_journals_are_lost() -> None:
    agent = Agent(journals_lost=True)
    agent.send(FIRST, to="a", status=503)
    agent.now_s = FAILOVER_S
    agent.send(FIRST, to="b")
    assert agent.balancer.headers[-1] == {FOR_HEADER: "b", HOP_HEADER: "1", LOST_HOPS_HEADER: "0"} | {
        "Meterhouse-Journal-Lost": "1"
    }


def test_a_change_that_cannot_be_written_does_not_hold(tmp_path: Path) -> None:
    """Else the frames of a restarted agent would have the number of an earlier change."""
    agent = Agent(tmp_path)
    agent.send(FIRST, to="a", status=503)
    tmp_path.rename(tmp_path.with_name("away"))
    agent.now_s = FAILOVER_S
    assert agent.send(FIRST, to="b") == [Outcome.MISDIRECTED]
    tmp_path.with_name("away").rename(tmp_path)
    assert agent.send(FIRST, to="b") == [Outcome.ACCEPTED]


def test_indexers_without_names_get_any_frame() -> None:
    agent = Agent()
    assert agent.send(FIRST, to=["", ""], status=503) == [Outcome.BUSY]
    assert agent.send(FIRST, to=["", ""]) == [Outcome.ACCEPTED]
    assert [hop for *_, hop in agent.taken] == [0, 0]


def test_several_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    agent = Agent()
    with caplog.at_level(logging.WARNING):
        agent.send(FIRST, to="a")
        assert not caplog.records
        assert agent.one.warning == ""
        for _ in range(3):
            agent.send(SECOND, to="b")
    (record,) = caplog.records
    assert "several_indexers_at_one_url" in record.getMessage()
    assert "agent.forward.urls" in record.getMessage()
    assert agent.one.warning == (
        "http://balancer leads to several indexers: give each an address of its own in agent.forward.urls"
    )


def test_421_completes_no_frame() -> None:
    assert judge(421, "") == Answer(Outcome.MISDIRECTED, 421, sent=False)


def test_a_frame_whose_connection_broke_was_sent() -> None:
    """The channel connects again by itself, and meets another indexer; the first one has the frame."""
    agent = Agent()
    agent.send(SECOND, to="a")
    agent.now_s = FAILOVER_S
    agent.balancer.break_after("a")
    assert agent.send(FIRST, to="b") == [Outcome.ACCEPTED]
    assert agent.taken[1:] == [("a", b"1", 0), ("b", b"1", 1)]


def test_tries_without_an_answer_do_not_keep_the_agent() -> None:
    """Some requests hang at a dead indexer, and others meet the next one."""
    agent = Agent()
    agent.send(FIRST, to="a", status=503)
    for now_s in (4.0, 8.0):
        agent.now_s = now_s
        assert agent.send(FIRST, to="a", status=Outcome.TIMEOUT) == [Outcome.TIMEOUT]
        assert agent.send(FIRST, to="b") == [Outcome.MISDIRECTED]
    agent.now_s = FAILOVER_S
    assert agent.send(FIRST, to="b") == [Outcome.ACCEPTED]


@pytest.mark.parametrize("indexers", [2, 10])
def test_a_long_outage_behind_a_balancer_uses_up_no_frame(indexers: int) -> None:
    """A try each 15 s meets any indexer, and the one that it is for answers 503 for hours."""
    agent, rng = Agent(), random.Random(indexers)
    for at in range(1_000):
        agent.now_s = at * 15.0
        agent.send(FIRST, to=rng.choices("abcdefghij"[:indexers], k=4), status=503)
    agent.send(FIRST, to="abcdefghij"[:indexers])
    assert agent.one.headers(FIRST) is not None


@pytest.mark.parametrize(("damage", "hop"), [(None, 1), (b"", 5), (b"{", 5), (b'{"name": 1}', 5)])
def test_frames_of_an_earlier_run_without_its_indexer(tmp_path: Path, damage: bytes | None, hop: int) -> None:
    """Any indexer may have them: an older agent knew no names."""
    if damage is not None:
        (tmp_path / "indexer").write_bytes(damage)
    agent = Agent(tmp_path, unsent=1)
    recovered = EncodedFrame(FIRST.identity, FIRST.data, rows=1)
    assert agent.send(recovered, SECOND, to="a") == [Outcome.ACCEPTED] * 2
    assert agent.taken == [("a", b"1", hop), ("a", b"2", 0)]
    assert Agent(tmp_path.with_name("new")).one.headers(recovered) == {FOR_HEADER: "?"}
