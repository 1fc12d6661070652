"""Delivery over real sockets: every answer an indexer can give, and none."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from agent.config.load import ConfigError, load
from agent.forward.channel import Outcome
from agent.forward.circuit_breaker import CircuitBreaker
from agent.forward.forwarder import Forwarder
from agent.forward.spool.record import EncodedFrame
from agent.forward.spool.spool import Spool
from agent.net.sockets import AddressError
from agent.runtime.logs import Log
from agent.settings import AgentSettings, ForwardSettings
from agent.wire.frame import CONTENT_TYPE
from tests.integration.agent.conftest import Answer, FakeIndexer, wait_until
from tests.support.markdown import ROOT


def settings(indexer: FakeIndexer, **changes: object) -> ForwardSettings:
    values = {"url": indexer.url, "backoff_s": 0.01, "max_backoff_s": 0.05, "timeout_s": 60.0, **changes}
    return ForwardSettings(**values)  # type: ignore[arg-type]


class Running:
    """A forwarder with its spool, started."""

    def __init__(self, settings: ForwardSettings, *, started: bool = True) -> None:
        self.spool = Spool(settings.max_unsent_bytes)
        self.forwarder = Forwarder(settings, self.spool, Log(), random.Random(1))
        if started:
            self.forwarder.start()

    def put(self, *bodies: bytes) -> None:
        for i, body in enumerate(bodies):
            self.spool.put(EncodedFrame(f"a/1/{i}", body, rows=2))

    def wait_sent(self) -> None:
        wait_until(lambda: self.spool.unsent_frames == 0, "an empty spool")


@pytest.fixture
def running(indexer: FakeIndexer) -> Iterator[Running]:
    run = Running(settings(indexer))
    yield run
    run.forwarder.drain(0)


def test_sends_and_counts(indexer: FakeIndexer, running: Running) -> None:
    running.put(b"one", b"two", b"three")
    running.wait_sent()
    assert sorted(indexer.accepted) == [b"one", b"three", b"two"]
    f = running.forwarder
    assert (f.sent_frames, f.sent_rows, f.sent_bytes) == (3, 6, 11)
    assert time.time() - f.last_success_s < 60
    assert indexer.headers[0]["Content-Type"] == CONTENT_TYPE
    assert "Authorization" not in indexer.headers[0]


def test_token_and_path(indexer: FakeIndexer) -> None:
    run = Running(settings(indexer, token="secret", url=indexer.url + "/base/"))
    run.put(b"x")
    run.wait_sent()
    assert indexer.headers[0]["Authorization"] == "Bearer secret"
    assert run.forwarder.drain(60)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (503, Outcome.BUSY),
        ((503, {"Retry-After": "soon"}), Outcome.BUSY),
        (429, Outcome.BUSY),
        (500, Outcome.STATUS),
        (404, Outcome.STATUS),
        (401, Outcome.DENIED),
        (403, Outcome.DENIED),
        (202, Outcome.STATUS),
        (302, Outcome.STATUS),
        ("drop", Outcome.CONNECTION),
    ],
)
def test_tries_again_with_the_same_bytes(
    indexer: FakeIndexer, running: Running, answer: Answer, outcome: Outcome
) -> None:
    indexer.script = [answer] * 3
    running.put(b"the very same")
    running.wait_sent()
    assert indexer.bodies == [b"the very same"] * 4
    assert running.forwarder.retries == {outcome: 3}
    assert running.forwarder.failures_in_a_row == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (401, "the indexer asks for credentials: set agent.forward.token, token_file or tls.cert: 401"),
        (403, "write to this org and project: 403"),
        (429, "a limit is reached: 429"),
        (503, "busy or down: 503"),
        (500, "the indexer answers 500"),
        ("drop", "cannot be reached"),
    ],
)
def test_a_problem_is_told_in_words_until_it_is_over(
    indexer: FakeIndexer, running: Running, answer: Answer, words: str
) -> None:
    indexer.script = [answer] * 1_000
    running.put(b"kept")
    wait_until(lambda: words in running.forwarder.problem)
    assert running.spool.unsent_frames == 1
    indexer.script = []
    running.wait_sent()
    assert indexer.accepted == [b"kept"]
    assert running.forwarder.problem == ""


def test_a_token_of_any_letters_reaches_the_indexer(indexer: FakeIndexer) -> None:
    run = Running(settings(indexer, token="schlüssel-密"))
    run.put(b"x")
    run.wait_sent()
    sent = indexer.headers[0]["Authorization"].encode("latin-1").decode()
    assert sent == "Bearer schlüssel-密"
    assert run.forwarder.drain(60)


@pytest.mark.parametrize("token", ["a\nb", "a\r", "\x00"])
def test_a_token_that_no_header_holds_is_refused_unseen(token: str) -> None:
    with pytest.raises(ConfigError) as e:
        load(AgentSettings, environ={"METERHOUSE_FORWARD__TOKEN": token})
    assert "token has a line break" in str(e.value)
    assert token not in str(e.value)


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, Outcome.REFUSED), (413, Outcome.REFUSED), (409, Outcome.CONFLICT)]
)
def test_drops_what_is_refused_for_good(
    indexer: FakeIndexer, running: Running, status: int, outcome: Outcome
) -> None:
    indexer.script = [status]
    running.put(b"bad")
    running.wait_sent()
    running.put(b"good")
    running.wait_sent()
    assert indexer.bodies == [b"bad", b"good"]
    f = running.forwarder
    assert (f.dropped_frames, f.dropped_rows) == ({outcome: 1}, {outcome: 2})
    assert (f.sent_frames, f.retries.total()) == (1, 0)


def test_an_answer_that_does_not_come(indexer: FakeIndexer) -> None:
    indexer.script = ["hang"]
    run = Running(settings(indexer, timeout_s=0.2))
    run.put(b"x")
    run.wait_sent()
    tries = run.forwarder.retries[Outcome.TIMEOUT]  # more where a busy machine answers late
    assert run.forwarder.retries == {Outcome.TIMEOUT: tries}
    assert tries >= 1
    wait_until(lambda: indexer.bodies == [b"x"] * (1 + tries))  # it may read a try after its time
    assert run.forwarder.drain(60)


def test_an_indexer_that_is_away_and_comes_back(indexer: FakeIndexer, running: Running) -> None:
    indexer.stop()
    running.put(b"x", b"y")
    wait_until(lambda: running.forwarder.failures_in_a_row >= 3)
    indexer.restart()
    running.wait_sent()
    assert sorted(set(indexer.accepted)) == [b"x", b"y"]
    assert len(indexer.accepted) == 2


def test_an_idle_connection_closed_by_the_indexer_is_no_failure(
    indexer: FakeIndexer, running: Running
) -> None:
    indexer.script = [(200, {"Connection": "close"})]
    for body in (b"x", b"y", b"z"):
        running.put(body)
        running.wait_sent()
    indexer.script = ["drop"]  # on a kept connection: tried once more at once
    running.put(b"again")
    running.wait_sent()
    assert running.forwarder.failures_in_a_row == 0


def test_retry_after_is_honoured(indexer: FakeIndexer) -> None:
    indexer.script = [(503, {"Retry-After": "0.4"})]
    run = Running(settings(indexer, max_backoff_s=5.0))
    run.put(b"x")
    run.wait_sent()
    first, second = indexer.times_s
    assert second - first >= 0.4
    assert run.forwarder.drain(60)


def test_several_frames_are_under_way(indexer: FakeIndexer) -> None:
    indexer.script = ["hang"] * 3
    run = Running(settings(indexer, connections=3))
    run.put(b"a", b"b", b"c", b"d")
    wait_until(lambda: len(indexer.bodies) == 3, "three tries at once")
    assert indexer.most_at_once == 3
    indexer.release.set()
    run.wait_sent()
    assert sorted(set(indexer.accepted)) == [b"a", b"b", b"c", b"d"]
    assert run.forwarder.drain(60)


def test_a_dead_indexer_is_probed_by_one(indexer: FakeIndexer) -> None:
    """While it fails no two tries are under way, for any number of connections and frames."""
    run = Running(settings(indexer, connections=4))
    indexer.always = 503
    run.put(b"first")
    wait_until(lambda: len(indexer.bodies) >= 2)
    indexer.most_at_once = 0
    run.put(*[b"%d" % i for i in range(20)])
    tries = len(indexer.bodies)
    wait_until(lambda: len(indexer.bodies) > tries + 5)
    assert indexer.most_at_once == 1
    indexer.always = None
    run.wait_sent()
    assert len(indexer.accepted) == 21
    assert run.forwarder.drain(60)


def test_memory_is_bounded_while_the_indexer_is_away(indexer: FakeIndexer) -> None:
    indexer.always = 503
    run = Running(settings(indexer, max_unsent_bytes=65_536))
    run.put(*[bytes([i]) * 10_000 for i in range(20)])
    assert run.spool.unsent_bytes <= 65_536 + 10_000
    indexer.always = None
    run.wait_sent()
    assert run.forwarder.sent_frames + run.spool.dropped_frames == 20
    assert run.spool.dropped_frames >= 13
    assert bytes([19]) * 10_000 in indexer.accepted  # the newest are kept
    assert run.forwarder.drain(60)


def test_a_backlog_goes_in_bundles(indexer: FakeIndexer) -> None:
    """Each frame has its own answer: one is refused, one is put off and sent again, the others are taken."""
    indexer.bundles = True
    indexer.script = [200, 400, (503, {"Retry-After": "0.3"}), 200]
    run = Running(settings(indexer, connections=1, max_backoff_s=5.0), started=False)
    run.put(*[b"frame %d" % i for i in range(20)])
    run.forwarder.start()
    run.wait_sent()
    assert indexer.bundle_sizes[0] == 16
    assert len(indexer.accepted) == 19
    assert b"frame 1" not in indexer.accepted
    assert indexer.bodies.count(b"frame 2") == 2
    f = run.forwarder
    assert (f.sent_frames, f.dropped_frames, f.retries) == (19, {Outcome.REFUSED: 1}, {Outcome.BUSY: 1})
    again_s = [t for t, body in zip(indexer.times_s, indexer.bodies, strict=True) if body == b"frame 2"]
    assert again_s[1] - again_s[0] >= 0.3
    assert f.failures_in_a_row == 0  # the indexer answered all the time
    assert run.forwarder.drain(60)


def test_every_fourth_try_is_of_the_backlog(indexer: FakeIndexer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others take live frames first, so that neither waits for the end of the other."""
    asked: list[bool] = []
    take_many = Spool.take_many

    def recorded(spool: Spool, *args: int, live_first: bool) -> list[EncodedFrame]:
        asked.append(live_first)
        return take_many(spool, *args, live_first=live_first)

    monkeypatch.setattr(Spool, "take_many", recorded)
    run = Running(settings(indexer, connections=1))
    for number in range(9):
        run.spool.put(EncodedFrame(f"a/1/{number}", b"frame", rows=2))
        run.wait_sent()
    assert run.forwarder.drain(60)
    assert len(asked) >= 9
    assert asked == [number % 4 != 0 for number in range(1, len(asked) + 1)]


@pytest.mark.parametrize("status", [404, 405, 400, 413, 415, 200])
def test_an_indexer_that_takes_no_bundles_gets_frames_one_by_one(indexer: FakeIndexer, status: int) -> None:
    """No frame ends by an answer to the bundle as a whole."""
    indexer.bundles = status
    run = Running(settings(indexer, connections=1), started=False)
    run.put(*[b"frame %d" % i for i in range(5)])
    run.forwarder.start()
    run.wait_sent()
    assert indexer.accepted == [b"frame %d" % i for i in range(5)]
    assert (run.forwarder.sent_frames, run.forwarder.dropped_frames.total()) == (5, 0)
    assert run.forwarder.drain(60)


def test_a_connection_that_fails_alone_stops_no_other(indexer: FakeIndexer) -> None:
    """While one try hangs the others go on. Its end opens no circuit: another sends its frame at once."""
    indexer.script = ["hang"]
    run = Running(settings(indexer, connections=2, backoff_s=60.0, max_backoff_s=60.0))
    run.put(b"hangs")
    wait_until(lambda: len(indexer.bodies) == 1)
    for i in range(5):
        run.spool.put(EncodedFrame(f"b/1/{i}", b"b%d" % i, rows=2))
        wait_until(lambda n=i: run.forwarder.sent_frames > n)  # type: ignore[misc]
    indexer.release.set()  # its connection ends without an answer
    wait_until(lambda: run.forwarder.retries)
    assert run.forwarder.failures_in_a_row == 0, "else all would wait for up to a minute"
    run.wait_sent()
    assert run.forwarder.retries == {Outcome.CONNECTION: 1}
    assert run.forwarder.drain(60)


def test_drain_sends_the_rest_without_long_waits(indexer: FakeIndexer) -> None:
    indexer.script = [503, 503]
    run = Running(settings(indexer, backoff_s=60.0, max_backoff_s=60.0))
    run.put(b"x", b"y")
    wait_until(lambda: indexer.bodies)
    start = time.monotonic()
    assert run.forwarder.drain(40)
    assert time.monotonic() - start < 30  # backoff_s is 60
    assert sorted(indexer.accepted) == [b"x", b"y"]


def test_drain_gives_up_at_the_deadline(indexer: FakeIndexer) -> None:
    indexer.always = 503
    run = Running(settings(indexer))
    run.put(b"x")
    start = time.monotonic()
    assert not run.forwarder.drain(0.3)
    assert 0.3 <= time.monotonic() - start < 60
    assert run.spool.unsent_frames == 1


@pytest.mark.parametrize("url", ["", "localhost:8126", "ftp://x/", "http://"])
def test_a_url_that_cannot_be_used_is_said_at_once(url: str) -> None:
    with pytest.raises(AddressError, match=r"agent\.forward\.url"):
        Forwarder(ForwardSettings(url=url), Spool(1), Log())


class TestCircuit:
    """The pure part, on a clock of numbers."""

    def circuit(self) -> CircuitBreaker:
        return CircuitBreaker(1.0, 60.0, random.Random(7))

    def test_closed_lets_all_go(self) -> None:
        circuit = self.circuit()
        for _ in range(5):
            assert circuit.wait_s(0.0) == 0.0
            circuit.begin()

    def test_one_probe_at_a_time(self) -> None:
        circuit = self.circuit()
        circuit.begin()
        circuit.failed(0.0)
        assert circuit.wait_s(1.0) == 0.0
        circuit.begin()
        assert circuit.wait_s(1.0) > 0
        circuit.abandoned()
        assert circuit.wait_s(1.0) == 0.0
        circuit.begin()
        circuit.succeeded()
        assert circuit.wait_s(1.0) == 0.0

    def test_jitter_from_half_of_the_first_wait_to_half_of_the_outage_so_far(self) -> None:
        """Waits of some milliseconds made 200 agents beside a starting indexer take its processors."""
        shares: list[float] = []
        for seed in range(300):
            circuit = CircuitBreaker(1.0, 60.0, random.Random(seed))
            now_s = 0.0
            while now_s < 600:
                circuit.begin()
                circuit.failed(1_000 + now_s)
                ceiling = min(max(1.0, now_s / 2), 60.0)
                wait_s = circuit.wait_s(1_000 + now_s)
                shares.append((wait_s - 0.5) / (ceiling - 0.5))
                now_s += wait_s
        assert 0.99 < max(shares) <= 1.0 + 1e-9
        assert 0.0 <= min(shares) < 0.01
        assert 0.48 < sum(shares) / len(shares) < 0.52

    def test_the_next_outage_begins_with_short_waits(self) -> None:
        circuit = self.circuit()
        for now_s in (0.0, 100.0):
            circuit.begin()
            circuit.failed(now_s)
        circuit.begin()
        circuit.succeeded()
        circuit.begin()
        circuit.failed(200.0)
        assert circuit.wait_s(200.0) <= 1.0

    def test_retry_after_is_a_floor_with_a_bound(self) -> None:
        circuit = self.circuit()
        circuit.begin()
        circuit.failed(0.0, retry_after_s=30.0)
        assert circuit.wait_s(0.0) == 30.0
        circuit.begin()
        circuit.failed(30.0, retry_after_s=1e9)
        assert circuit.wait_s(30.0) == 60.0

    def test_failures_of_tries_begun_together_count_once(self) -> None:
        circuit = self.circuit()
        for _ in range(4):
            circuit.begin()
        for _ in range(4):
            circuit.failed(0.0, retry_after_s=5.0)
        assert circuit.failures == 1

    def test_a_thousand_failures_do_not_overflow(self) -> None:
        circuit = self.circuit()
        for i in range(2_000):
            circuit.begin()
            circuit.failed(i * 100.0)
        assert circuit.wait_s(199_900.0) <= 60.0


@pytest.mark.parametrize(("scheme", "loaded"), [("http", False), ("https", True)])
def test_ssl_is_loaded_for_tls_alone(scheme: str, loaded: bool) -> None:
    program = f"""
import sys
from agent.forward.channel import Channel
from agent.settings import AgentSettings, ForwardSettings
from agent.forward.spool.record import EncodedFrame

channel = Channel(ForwardSettings(url="{scheme}://127.0.0.1:1"))
print("ssl" in sys.modules, channel.send(b"x").outcome.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(loaded), "CONNECTION"]
