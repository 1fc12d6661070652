"""Sending to one of several indexers over real sockets: outages, returns, restarts, releases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.cli.check_config import check_config
from agent.config.load import ConfigError, load
from agent.forward.forwarders import Forwarders
from agent.forward.heartbeat_sender import AnswerHandlers, HeartbeatSender
from agent.forward.open_sending import open_sending
from agent.forward.spool.open_spool import open_spool
from agent.forward.spool.record import EncodedFrame
from agent.forward.target_choice import rendezvous
from agent.runtime.logs import Log
from agent.settings import AgentSettings, ForwardSettings, SpoolSettings
from agent.wire.frame import Sender
from agent.wire.release import HOP_HEADER, JOURNAL_LOST_HEADER, LOST_HOPS_HEADER
from tests.integration.agent.conftest import FakeIndexer, wait_until


class Agent:
    """The sending half of an agent named "a", over a spool on disk, and its indexers in its order."""

    def __init__(self, folder: Path, indexers: Sequence[FakeIndexer]) -> None:
        self._folder = folder
        self._urls = [indexer.url for indexer in indexers]
        self._made = 0
        self._forwarders: Forwarders | None = None

    def start(self, **forward: Any) -> Forwarders:
        quick = {"failover_s": 0.3, "return_s": 0.3, "timeout_s": 60.0, "drain_s": 0.1, "connections": 2}
        tree = {"urls": self._urls, "backoff_s": 0.01, "max_backoff_s": 0.1} | quick | forward
        self.settings = AgentSettings(
            name="a",
            forward=ForwardSettings(**tree),  # type: ignore[arg-type]
            spool=SpoolSettings(path=str(self._folder)),
        )
        self.spool = open_spool(self.settings, lambda: 1_000, Log())
        self.sending = open_sending(self.settings, self.spool, Log())
        assert isinstance(self.sending.forwarder, Forwarders)
        self._forwarders = self.sending.forwarder
        self._forwarders.start()
        return self._forwarders

    def make(self, *bodies: bytes) -> None:
        for body in bodies:
            self._made += 1
            self.spool.put(EncodedFrame(f"a/1/{self._made}", body, 1, self._made, 1, 1_000))

    def until_unsent(self, frames: int) -> None:
        """Wait until this many frames are unsent: an agent repeats a frame whose answer it has not read."""
        wait_until(lambda: self.spool.unsent_frames == frames, f"{frames} unsent frames")

    def stop(self) -> None:
        if self._forwarders is not None:
            self._forwarders.drain(0.1)
            self.spool.keep_all()
            self.spool.leave()
            self._forwarders = None

    def again(self, **forward: Any) -> Forwarders:
        self.stop()
        return self.start(**forward)


@pytest.fixture
def indexers() -> Iterator[list[FakeIndexer]]:
    """Provide two indexers in the order of the agent "a" on this host."""
    import socket

    made = {fake.url: fake for fake in (FakeIndexer(), FakeIndexer())}
    yield [made[url] for url in rendezvous(made, "a", socket.gethostname())]
    for fake in made.values():
        fake.release.set()
        fake.stop()


@pytest.fixture
def agent(indexers: list[FakeIndexer], tmp_path: Path) -> Iterator[Agent]:
    it = Agent(tmp_path / "spool", indexers)
    yield it
    it.stop()


def test_a_frame_that_one_may_have_waits_for_it(agent: Agent, indexers: list[FakeIndexer]) -> None:
    first, second = indexers
    sending = agent.start()
    agent.make(b"one")
    wait_until(lambda: first.accepted == [b"one"])
    first.always = "drop"
    agent.make(b"two")
    wait_until(lambda: sending.lanes.current() == second.url)
    agent.make(b"three")
    wait_until(lambda: second.accepted == [b"three"])
    wait_until(lambda: sending.targets()[second.url][0] == 0, "its answer is counted")
    assert sending.failures_in_a_row == 0, "the one that gets new frames works"
    first.always = None
    wait_until(lambda: first.accepted == [b"one", b"two"])
    wait_until(lambda: sending.lanes.current() == first.url)
    agent.make(b"four")
    wait_until(lambda: first.accepted == [b"one", b"two", b"four"])
    assert second.bodies == [b"three"]
    wait_until(lambda: sending.sent_frames == 4, "the last answer is counted")


def test_a_frame_whose_connection_was_refused_is_free(agent: Agent, indexers: list[FakeIndexer]) -> None:
    first, second = indexers
    first.stop()
    sending = agent.start()
    agent.make(b"one", b"two")
    wait_until(lambda: sorted(second.accepted) == [b"one", b"two"])
    wait_until(lambda: sending.lanes.current() == second.url)
    first.restart()


def test_bindings_survive_a_restart_and_a_release_is_said(agent: Agent, indexers: list[FakeIndexer]) -> None:
    first, second = indexers
    first.always = 503
    agent.start(failover_s=60.0)
    agent.make(b"one")
    wait_until(lambda: len(first.bodies) >= 1)
    sending = agent.again(failover_s=0.2)
    wait_until(lambda: sending.lanes.current() == second.url)
    agent.make(b"two")
    wait_until(lambda: second.accepted == [b"two"])
    agent.until_unsent(1)
    assert HOP_HEADER not in second.headers[0]
    agent.again(gone=[first.url], journals_lost=[first.url])
    wait_until(lambda: second.accepted == [b"two", b"one"])
    assert (second.headers[-1][HOP_HEADER], second.headers[-1][JOURNAL_LOST_HEADER]) == ("1", "1")
    assert set(first.bodies) == {b"one"}


def test_a_journal_may_be_given_up_after_the_release(agent: Agent, indexers: list[FakeIndexer]) -> None:
    """As the documents say: `gone` first, and `journals_lost` for frames that then still wait."""
    first, second = indexers
    first.always = second.always = 503
    agent.start(failover_s=60.0)
    agent.make(b"one")
    wait_until(lambda: len(first.bodies) >= 1)
    agent.again(gone=[first.url])
    wait_until(lambda: len(second.bodies) >= 1)
    assert LOST_HOPS_HEADER not in second.headers[0]
    agent.stop()
    second.always = None
    agent.start(gone=[first.url], journals_lost=[first.url])
    wait_until(lambda: second.accepted and LOST_HOPS_HEADER in second.headers[-1])
    assert set(second.accepted) == {b"one"}  # twice, if the last request before the stop was answered late
    assert (second.headers[-1][HOP_HEADER], second.headers[-1][LOST_HOPS_HEADER]) == ("1", "0")


def test_an_indexer_that_is_not_listed_any_more_is_waited_for(
    agent: Agent, indexers: list[FakeIndexer], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = indexers
    first.always = 503
    agent.start(failover_s=60.0)
    agent.make(b"one")
    wait_until(lambda: len(first.bodies) >= 1)
    sending = agent.again(urls=[second.url])
    agent.make(b"two")
    wait_until(lambda: second.accepted == [b"two"])
    wait_until(lambda: sending.lanes.held_frames() == {second.url: 0, first.url: 1})
    agent.until_unsent(1)
    agent.again(urls=[second.url], gone=[first.url])
    wait_until(lambda: second.accepted == [b"two", b"one"])


def test_frames_of_another_indexer_wait_when_urls_is_empty_again(
    agent: Agent, indexers: list[FakeIndexer]
) -> None:
    """The one indexer that is left gets new frames only: the other one may have stored these."""
    first, second = indexers
    first.always = 503
    agent.start(failover_s=60.0)
    agent.make(b"one")
    wait_until(lambda: len(first.bodies) >= 1)
    sending = agent.again(urls=[], url=second.url)
    agent.make(b"two")
    wait_until(lambda: second.accepted == [b"two"])
    wait_until(lambda: sending.lanes.held_frames() == {second.url: 0, first.url: 1})
    agent.until_unsent(1)
    agent.again(urls=[], url=second.url, gone=[first.url])
    wait_until(lambda: second.accepted == [b"two", b"one"])


def one_indexer_without_answers(folder: Path, url: str, first: FakeIndexer) -> None:
    """Run an agent of one indexer that reads frames and does not answer, and end it."""
    settings = AgentSettings(
        name="a",
        forward=ForwardSettings(url=url, backoff_s=0.01, max_backoff_s=0.1, timeout_s=60.0),
        spool=SpoolSettings(path=str(folder)),
    )
    spool = open_spool(settings, lambda: 1_000, Log())
    sending = open_sending(settings, spool, Log()).forwarder
    first.always = "drop"
    sending.start()
    spool.put(EncodedFrame("a/0/1", b"old", 1, 1, 1, 1_000))
    wait_until(lambda: b"old" in first.bodies, "the frame is sent")
    sending.drain(0.1)
    spool.keep_all()
    spool.leave()
    first.always = None


@pytest.mark.parametrize("was_several", [False, True])
def test_a_frame_that_was_sent_under_url_counts_as_released(
    agent: Agent, indexers: list[FakeIndexer], tmp_path: Path, *, was_several: bool
) -> None:
    """The spool does not know which indexer may have it, so the claims of indexers decide who stores it."""
    if was_several:
        agent.start()
        agent.stop()
    one_indexer_without_answers(tmp_path / "spool", indexers[1].url, indexers[1])
    agent.start()
    agent.make(b"new")
    wait_until(lambda: sorted(indexers[0].accepted) == [b"new", b"old"])
    heads = dict(zip(indexers[0].bodies, indexers[0].headers, strict=True))
    hops = {body: head.get(HOP_HEADER) for body, head in heads.items()}
    assert hops == {b"old": "5", b"new": None}
    assert LOST_HOPS_HEADER not in heads[b"old"]


def test_a_frame_that_was_never_sent_is_free_after_a_restart(
    agent: Agent, indexers: list[FakeIndexer]
) -> None:
    first, second = indexers
    for indexer in indexers:
        indexer.stop()
    agent.start()
    agent.make(b"one")
    agent.stop()
    first.restart()
    second.restart()
    agent.start()
    wait_until(lambda: first.accepted + second.accepted == [b"one"])
    assert [HOP_HEADER in head for head in first.headers + second.headers] == [False]


def test_heartbeats_go_where_new_frames_go_and_judge_no_gaps(
    agent: Agent, indexers: list[FakeIndexer]
) -> None:
    first, second = indexers
    first.stop()
    sending = agent.start()
    agent.make(b"one")
    wait_until(lambda: second.accepted == [b"one"])
    wait_until(lambda: sending.lanes.current() == second.url)
    beats = HeartbeatSender(
        agent.settings.forward, Sender(agent="a", epoch=1), agent.spool, 1, Log(), agent.sending.credentials,
        handlers=AnswerHandlers(open_channel=agent.sending.open_channel),
    )  # fmt: skip
    beats.start()
    wait_until(lambda: second.heartbeats)
    beats.stop()
    assert second.heartbeats[0].frames_over is None
    first.restart()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('urls = ["http://a:1", "https://b:1"]', "expected one of them"),
        ('urls = ["http://a:1", "http://a:1"]', "a URL twice"),
        ('urls = ["http://a:1"]\ngone = ["http://a:1"]', "at least one that is left"),
        ('urls = ["http://a:1"]\njournals_lost = ["http://b:1"]', "expected those of gone"),
    ],
)
def test_settings_that_do_not_fit(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load(AgentSettings, f"[forward]\n{text}\n", {})


def test_check_config_looks_at_each_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "meterhouse.toml"
    path.write_text('[agent.forward]\nurls = ["http://a:1", "http://b:99999"]\n')
    assert check_config(["--config", str(path)], None) != 0
    assert "agent.forward.urls = 'http://b:99999': expected http://host:port" in capsys.readouterr().err
