"""How the agent shows the indexer who it is: TLS, its certificate, a token in a file."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.forward.channel import Answer, Channel, Outcome, failure_text
from agent.forward.credentials import Credentials, CredentialsError
from agent.net.tls import TlsError
from agent.runtime.logs import Log
from agent.settings import ClientTls, ForwardSettings
from tests.integration.agent.conftest import FakeIndexer
from tests.support.certificates import Authority, Pair

Start = Callable[..., FakeIndexer]


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def later(self) -> None:
        """Let the files be looked at again."""
        self.now_s += 1.5


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start indexers that speak TLS."""
    started: list[FakeIndexer] = []

    def start(pair: Pair, clients: Authority | None = None) -> FakeIndexer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        if clients is not None:
            context.load_verify_locations(clients.file)
            context.verify_mode = ssl.CERT_REQUIRED
        started.append(FakeIndexer(context))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def send(forward: ForwardSettings, clock: Clock | None = None) -> Answer:
    credentials = Credentials(forward, Log(), clock or Clock())
    channel = Channel(forward, credentials=credentials)
    try:
        return channel.send(b"x")
    finally:
        channel.close()


def test_certificates_are_checked(ca: Authority, start: Start, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    good, elsewhere = start(ca.issue("good")), start(ca.issue("elsewhere", "elsewhere.test"))
    expired = start(ca.issue("expired", expired=True))
    assert send(ForwardSettings(url=good.url, tls=ca.client())).outcome is Outcome.ACCEPTED
    for indexer, tls, why in (
        (good, other.client(), "unable to get local issuer certificate"),
        (good, ClientTls(), "unable to get local issuer certificate"),
        (elsewhere, ca.client(), "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (expired, ca.client(), "certificate has expired"),
    ):
        forward = ForwardSettings(url=indexer.url, tls=tls)
        answer = send(forward)
        assert answer.outcome is Outcome.TLS
        assert why in answer.text
        assert failure_text(answer, forward).startswith(
            "no TLS with the indexer: the other side's certificate is refused: "
        )
        assert indexer.bodies == ([b"x"] if indexer is good else [])


def test_a_certificate_itself_is_trusted(ca: Authority, start: Start) -> None:
    """As `meterhouse up` does with the indexer's own, whose name may be another one."""
    pair, another = ca.issue("self", "elsewhere.test"), ca.issue("another", "elsewhere.test")
    leaf = Path(pair.cert)
    tls = ClientTls(ca=str(leaf), check_name=False)
    assert send(ForwardSettings(url=start(pair).url, tls=tls)).outcome is Outcome.ACCEPTED
    assert send(ForwardSettings(url=start(another).url, tls=tls)).outcome is Outcome.TLS


def test_a_client_certificate(ca: Authority, start: Start) -> None:
    indexer = start(ca.issue("server"), ca)
    assert (
        send(ForwardSettings(url=indexer.url, tls=ca.client(ca.issue("agent")))).outcome is Outcome.ACCEPTED
    )
    answer = send(ForwardSettings(url=indexer.url, tls=ca.client()))
    assert answer.outcome in (Outcome.TLS, Outcome.CONNECTION)
    if answer.outcome is Outcome.TLS:  # or the connection was reset before the reason came
        assert "the other side refused" in answer.text


def test_certificates_change(ca: Authority, start: Start, tmp_path: Path) -> None:
    """Without a restart, and also a connection that is open takes the new ones."""
    clock = Clock()
    server, mine = ca.issue("server"), ca.issue("mine", name="first")
    indexer = start(server, ca)
    forward = ForwardSettings(url=indexer.url, tls=ca.client(mine))
    channel = Channel(forward, credentials=Credentials(forward, Log(), clock))
    assert channel.send(b"1").outcome is Outcome.ACCEPTED
    before = channel._connection
    assert channel.send(b"2").outcome is Outcome.ACCEPTED
    assert channel._connection is before
    ca.issue("mine", name="second")
    clock.later()
    assert channel.send(b"3").outcome is Outcome.ACCEPTED
    assert channel._connection is not before
    Path(mine.cert).write_text("broken")
    clock.later()
    assert channel.send(b"4").outcome is Outcome.ACCEPTED
    channel.close()


def test_a_token_in_a_file(indexer: FakeIndexer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, file = Clock(), tmp_path / "token"
    file.write_text("first\n")
    forward = ForwardSettings(url=indexer.url, token_file=str(file))
    channel = Channel(forward, credentials=Credentials(forward, Log(), clock))
    for text, sent in (
        ("first\n", "first"),
        ("second", "second"),
        ("", "second"),
        ("two\nlines", "second"),
        ("third", "third"),
    ):
        file.write_text(text)
        clock.later()
        assert channel.send(b"x").outcome is Outcome.ACCEPTED
        assert indexer.headers[-1]["Authorization"] == f"Bearer {sent}"
    file.unlink()
    clock.later()
    channel.send(b"x")
    assert indexer.headers[-1]["Authorization"] == "Bearer third"
    assert caplog.text.count("token_not_read") == 3
    assert "lines" not in caplog.text
    channel.close()


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(CredentialsError, match=r"agent\.forward\.token_file = .*: No such file"):
        Credentials(ForwardSettings(token_file=missing), Log())
    with pytest.raises(TlsError, match=r"agent\.forward\.tls\.ca = .*: No such file"):
        Credentials(ForwardSettings(url="HTTPS://x", tls=ClientTls(ca=missing)), Log())


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="token and token_file"):
        ForwardSettings(token="a", token_file="b")
    with pytest.raises(ValueError, match="expected both"):
        ClientTls(cert="a")
    with pytest.raises(ValueError, match="check_name = false without ca"):
        ClientTls(check_name=False)


def test_tls_for_http_is_warned_of(ca: Authority, caplog: pytest.LogCaptureFixture) -> None:
    Credentials(ForwardSettings(url="http://x", tls=ca.client()), Log())
    assert "tls_unused" in caplog.text


TLS = ClientTls(ca="ca.pem", cert="a.pem", key="a.key")


@pytest.mark.parametrize(
    ("forward", "of_401", "of_403"),
    [
        (ForwardSettings(token="t"), "refuses the token", "let the token write"),
        (ForwardSettings(token_file="f"), "refuses the token", "let the token write"),
        (
            ForwardSettings(url="https://x", tls=TLS),
            "refuses the client certificate",
            "let the client certificate",
        ),
        (ForwardSettings(url="https://x", tls=TLS, token="t"), "refuses the token", "let the token write"),
        (
            ForwardSettings(url="http://x", tls=TLS),
            "asks for credentials: set agent.forward",
            "without cred",
        ),
        (ForwardSettings(), "asks for credentials: set agent.forward", "an agent without credentials"),
    ],
)
def test_a_refusal_names_the_credential_that_was_shown(
    forward: ForwardSettings, of_401: str, of_403: str
) -> None:
    assert of_401 in failure_text(Answer(Outcome.DENIED, 401), forward)
    assert of_403 in failure_text(Answer(Outcome.DENIED, 403), forward)
