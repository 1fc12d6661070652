"""Heartbeats: their content, and their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from agent.forward.channel import Outcome
from agent.forward.forwarder import Forwarder
from agent.forward.heartbeat_sender import AnswerHandlers, HeartbeatSender
from agent.forward.spool.record import EncodedFrame
from agent.forward.spool.spool import Spool
from agent.runtime.logs import Log
from agent.runtime.program_version import program_version
from agent.settings import ForwardSettings
from agent.wire.frame import Sender
from agent.wire.heartbeat import MAX_BYTES, Heartbeat, HeartbeatError, decode, encode
from tests.integration.agent.conftest import FakeIndexer, wait_until

START_MS = 1_700_000_000_000
SENDER = Sender(agent="web-1", epoch=5, org_id=7, project_id=9)

Start = Callable[[], tuple[HeartbeatSender, Spool]]


@pytest.fixture
def start(indexer: FakeIndexer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start the heartbeats of an agent whose frames the test takes out of the spool by itself.

    None comes without news: on a busy machine a test may last longer than 12 s.
    """
    monkeypatch.setattr("agent.forward.heartbeat_sender._PERIOD_S", 3_600.0)
    started: list[HeartbeatSender] = []

    def start() -> tuple[HeartbeatSender, Spool]:
        spool = Spool(1_000)
        beats = HeartbeatSender(ForwardSettings(url=indexer.url), SENDER, spool, START_MS, Log())
        beats.start()
        started.append(beats)
        return beats, spool

    yield start
    for beats in started:
        beats.stop()


def said(indexer: FakeIndexer) -> list[int]:
    return [(b.flushed_until_ms - START_MS) // 1_000 for b in indexer.heartbeats]


def test_the_first_one_comes_at_once(indexer: FakeIndexer, start: Start) -> None:
    beats, _ = start()
    wait_until(lambda: beats.sent == 1)
    (beat,) = indexer.heartbeats
    assert abs(beat.sent_ms - time.time() * 1000) < 60_000
    assert msgspec.structs.replace(beat, sent_ms=0) == Heartbeat(
        agent="web-1",
        epoch=5,
        org_id=7,
        project_id=9,
        flushed_until_ms=START_MS,
        frames_over=0,
        version=program_version(),
    )


def test_the_answer_says_how_long_frames_are_remembered(indexer: FakeIndexer) -> None:
    indexer.remembers_s = 1_234
    told: list[int] = []
    beats = HeartbeatSender(
        ForwardSettings(url=indexer.url),
        SENDER,
        Spool(1_000),
        START_MS,
        Log(),
        handlers=AnswerHandlers(remembers=told.append),
    )
    beats.start()
    wait_until(lambda: told == [1_234])
    beats.stop()
    assert told == [1_234], "not at the end"


def test_a_bucket_is_past_when_its_frames_are_over(indexer: FakeIndexer, start: Start) -> None:
    """Frames may be answered in any order; a frame of a later bucket does not hold it up."""
    beats, spool = start()
    wait_until(lambda: beats.sent == 1)
    parcels = [EncodedFrame(f"web-1/5/{n}", b"x", 1, n) for n in (1, 2, 3)]
    for parcel in parcels:
        spool.put(parcel)
        assert spool.take() == parcel
    beats.flushed(START_MS + 10_000, 2)
    beats.flushed(START_MS + 20_000, 3)
    spool.done(parcels[1])
    spool.done(parcels[2])
    assert not spool.wait_over(2, 0.3)
    assert said(indexer) == [0], "frame 1 may not be stored"
    spool.again(parcels[0])
    assert spool.take() == parcels[0]
    spool.done(parcels[0])
    wait_until(lambda: len(indexer.heartbeats) == 2)
    assert said(indexer) == [0, 20]


def test_one_bucket_without_lines_is_one_heartbeat(indexer: FakeIndexer, start: Start) -> None:
    beats, _ = start()
    wait_until(lambda: beats.sent == 1)
    for k in (1, 2, 3):
        beats.flushed(START_MS + 10_000 * k, 0)
        wait_until(lambda k=k: beats.sent == k + 1)  # type: ignore[misc]
    assert said(indexer) == [0, 10, 20, 30]


def test_a_jump_while_a_heartbeat_is_sent_is_told_at_once(
    indexer: FakeIndexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.forward.heartbeat_sender._PERIOD_S", 3_600.0)
    indexer.remembers_s = 1

    def jump(_: int) -> None:
        if not beats.sent:
            beats.restart(START_MS - 10_000)

    beats = HeartbeatSender(
        ForwardSettings(url=indexer.url), SENDER, Spool(1_000), START_MS, Log(),
        handlers=AnswerHandlers(remembers=jump),
    )  # fmt: skip
    beats.start()
    wait_until(lambda: len(indexer.heartbeats) == 2)
    beats.stop()
    assert said(indexer)[:2] == [0, -10]


def test_dropped_frames_are_over(indexer: FakeIndexer, start: Start) -> None:
    beats, spool = start()
    wait_until(lambda: beats.sent == 1)
    spool.put(EncodedFrame("web-1/5/1", b"x" * 900, 1, 1))
    beats.flushed(START_MS + 10_000, 1)
    spool.put(EncodedFrame("web-1/5/2", b"x" * 900, 1, 2))
    assert spool.dropped_frames == 1
    wait_until(lambda: said(indexer) == [0, 10])


def test_the_last_one_says_so(indexer: FakeIndexer, start: Start) -> None:
    beats, _ = start()
    wait_until(lambda: beats.sent == 1)
    beats.flushed(START_MS + 10_000, 0)
    beats.stop()
    last = indexer.heartbeats[-1]
    assert last.ended
    assert last.flushed_until_ms == START_MS + 10_000
    assert [b.ended for b in indexer.heartbeats[:-1]] == [False] * (len(indexer.heartbeats) - 1)


def test_failures_are_counted_and_tried_again(indexer: FakeIndexer, start: Start) -> None:
    indexer.beat_answer = 503
    beats, _ = start()
    wait_until(lambda: beats.failed[Outcome.BUSY] >= 2)
    indexer.beat_answer = 200
    wait_until(lambda: beats.sent >= 1)


def test_frames_do_not_wait_for_heartbeats(indexer: FakeIndexer) -> None:
    """An indexer without heartbeats, and one that accepts no frame: each goes on without the other."""
    indexer.beat_answer = 404
    spool = Spool(10_000)
    settings = ForwardSettings(url=indexer.url, backoff_s=0.01)
    beats, forwarder = (
        HeartbeatSender(settings, SENDER, spool, START_MS, Log()),
        Forwarder(settings, spool, Log()),
    )
    beats.start()
    forwarder.start()
    spool.put(EncodedFrame("web-1/5/1", b"x", 1, 1))
    wait_until(lambda: indexer.accepted == [b"x"])
    indexer.always = 503
    indexer.beat_answer = 200
    spool.put(EncodedFrame("web-1/5/2", b"y", 1, 2))
    beats.flushed(START_MS + 10_000, 2)
    wait_until(lambda: forwarder.failures_in_a_row > 2)
    wait_until(lambda: beats.sent >= 1)
    assert indexer.heartbeats[-1].flushed_until_ms == START_MS
    indexer.always = None
    assert forwarder.drain(10)
    began = time.monotonic()
    beats.stop()
    assert time.monotonic() - began < 10  # the next heartbeat would be due after 12 s
    assert indexer.heartbeats[-1].flushed_until_ms == START_MS + 10_000


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"agent":"a"}', b'{"agent":"","epoch":1}', b'{"agent":"a","epoch":-1}',
     b'{"agent":"a","epoch":1,"org_id":0}', b'{"agent":"a","epoch":1,"flushed_until_ms":1e300}',
     b'{"agent":"a","epoch":1,"flushed_until_ms":-1}', b'{"agent":"\xff","epoch":1}'],
)  # fmt: skip
def test_what_is_no_heartbeat_is_refused(body: bytes) -> None:
    with pytest.raises(HeartbeatError):
        decode(body)


def test_its_bytes() -> None:
    beat = Heartbeat(agent="web-1", epoch=5, org_id=7, project_id=9, flushed_until_ms=START_MS, ended=True)
    assert encode(beat) == (
        b'{"agent":"web-1","epoch":5,"org_id":7,"project_id":9,"flushed_until_ms":1700000000000,"ended":true,'
        b'"sent_ms":0,"frames_made":0,"frames_over":null,"lines":null,"refused_lines":{},"unsent_bytes":0,"version":""}'
    )
    assert decode(encode(beat)) == beat
    assert decode(b'{"agent":"a","epoch":1,"more":[]}') == Heartbeat(agent="a", epoch=1)
    longest = Heartbeat(agent="\u20ac" * 500, epoch=(1 << 63) - 1, flushed_until_ms=(1 << 53) - 1)
    assert len(encode(longest)) < MAX_BYTES
