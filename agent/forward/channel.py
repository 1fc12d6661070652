"""A connection to the indexer: one request, one answer, never an exception.

Owns the effect of an answer on a frame: 200 completes it, 400, 409 and 413 drop it, and any other answer is a
reason to send the same bytes again.

Uses http.client, because sending is mostly waiting, during which the GIL is free.
"""

from __future__ import annotations

import enum
import importlib
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from agent.forward.credentials import Credentials
from agent.net.sockets import split_url
from agent.runtime.logs import Log
from agent.settings import ForwardSettings
from agent.wire.addressee import INDEXER_HEADER, MISDIRECTED
from agent.wire.frame import CONTENT_TYPE

if TYPE_CHECKING:
    from http.client import HTTPConnection

_MAX_ANSWER_BYTES: Final = 64 << 10


class Outcome(enum.Enum):
    """How a try ended; all values after CONFLICT are reasons to retry. Labels of counters."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # 400, 413
    CONFLICT = "conflict"  # 409: the indexer has other bytes under this frame's identity
    DENIED = "denied"  # 401, 403: the token, or where it may write to
    BUSY = "busy"  # 503, 429
    STATUS = "status"  # any other answer
    CONNECTION = "connection"  # none: refused, reset, name not found
    TIMEOUT = "timeout"  # none in time
    TLS = "tls"  # none: a certificate is refused, the indexer's or the agent's
    MISDIRECTED = "misdirected"  # 421: of another indexer than the one that the agent keeps to


#: Outcomes after which a frame is not sent again.
FINAL: Final = frozenset({Outcome.ACCEPTED, Outcome.REFUSED, Outcome.CONFLICT})


class Answer(msgspec.Struct, frozen=True):
    """The result of one try."""

    outcome: Outcome
    status: int = 0
    text: str = ""
    retry_after_s: float = 0.0
    expired: int = 0  # rows older than their retention; known for frames of a bundle
    sent: bool = True  # False: the indexer has nothing of it, as no connection was made or it says so
    indexer: str = ""  # the name that it tells


def failure_text(answer: Answer, settings: ForwardSettings) -> str:
    """Describe a failed try in plain words, for /readyz; `settings` say which credential was shown."""
    credential = _credential(settings)
    match answer.status:
        case 401 if not credential:
            return "the indexer asks for credentials: set agent.forward.token, token_file or tls.cert: 401"
        case 401:
            return f"the indexer refuses the {credential}: 401"
        case 403:
            who = f"the {credential}" if credential else "an agent without credentials"
            return f"the indexer does not let {who} write to this org and project: 403"
        case 429:
            return "the indexer refuses more for now, a limit is reached: 429"
        case 503:
            return "the indexer or its store is busy or down: 503"
        case 421:
            return "agent.forward.url leads to other indexers than the one that may have the frames: 421"
    match answer.outcome:
        case Outcome.TIMEOUT:
            return "the indexer does not answer in time"
        case Outcome.TLS:
            return f"no TLS with the indexer: {answer.text}"
        case Outcome.CONNECTION:
            return "the indexer cannot be reached"
        case _:
            return f"the indexer answers {answer.status}"


def _credential(settings: ForwardSettings) -> str:
    """Return the name of the credential that the indexer looks at: a certificate only without a token."""
    if settings.token or settings.token_file:
        return "token"
    over_tls = settings.url.lower().startswith("https://")
    return "client certificate" if settings.tls.cert and over_tls else ""


class Channel:
    """One keep-alive connection to the indexer, opened when needed. For one thread.

    Raises AddressError for an invalid URL.
    """

    def __init__(
        self,
        settings: ForwardSettings,
        path: str = "/v1/frames",
        content_type: str = CONTENT_TYPE,
        credentials: Credentials | None = None,
    ) -> None:
        url = split_url("agent.forward.url", settings.url)
        self._http = _http_client(url.scheme == "https")
        self._address = (url.hostname, url.port)
        self._timeout_s = settings.timeout_s
        self._base, self._own_path, self._own_content_type = url.path.rstrip("/"), path, content_type
        self._path = self._base + path
        self._headers: dict[str, str | bytes] = {"Content-Type": content_type}
        self._more: Mapping[str, str] = {}
        self._credentials = credentials or Credentials(settings, Log())
        self._context = self._credentials.context()
        self._connection = self._new_connection()

    def _new_connection(self) -> HTTPConnection:
        """Return a connection that opens on first use."""
        host, port = self._address
        if self._context is None:
            plain: HTTPConnection = self._http.HTTPConnection(host, port, timeout=self._timeout_s)
            return plain
        secure: HTTPConnection = self._http.HTTPSConnection(
            host, port, timeout=self._timeout_s, context=self._context
        )
        return secure

    def _identify(self) -> None:
        """Apply a changed token, or changed certificates, which need a new connection."""
        if authorization := self._credentials.authorization():
            self._headers["Authorization"] = authorization
        context = self._credentials.context()
        if context is not self._context:
            self._context = context
            self._connection.close()
            self._connection = self._new_connection()

    def send(
        self, data: bytes, path: str = "", content_type: str = "", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Make one try, never an exception; to another path of the indexer if one is given."""
        self._more = headers or {}
        self._identify()
        self._path = self._base + (path or self._own_path)
        self._headers["Content-Type"] = content_type or self._own_content_type
        reused = self._connection.sock is not None
        answer = self._try(data)
        if answer.outcome is Outcome.CONNECTION and reused:
            # An idle connection that the indexer had closed says nothing about it.
            return msgspec.structs.replace(self._try(data), sent=True)
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _try(self, data: bytes) -> Answer:
        sent = self._connection.sock is not None
        try:
            if not sent:
                self._connection.connect()
                sent = True
            headers = {**self._headers, **self._more}
            self._connection.request("POST", self._path, body=data, headers=headers)
            response = self._connection.getresponse()
            body = response.read(_MAX_ANSWER_BYTES)
            if not response.isclosed():
                self._connection.close()
        except TimeoutError:
            self._connection.close()
            return Answer(Outcome.TIMEOUT, sent=sent)
        except (OSError, self._http.HTTPException) as e:
            self._connection.close()
            if self._context is not None and (problem := _tls_problem(e)):
                return Answer(Outcome.TLS, text=problem, sent=sent)
            return Answer(Outcome.CONNECTION, text=str(e) or type(e).__name__, sent=sent)
        answer = judge(
            response.status, body.decode(errors="replace"), _seconds(response.getheader("Retry-After"))
        )
        name = response.getheader(INDEXER_HEADER)
        return msgspec.structs.replace(answer, indexer=name) if name else answer


def _http_client(tls: bool) -> Any:
    """Import http.client without ssl where TLS is off: that saves 2.5 MiB."""
    if tls or "ssl" in sys.modules or "http.client" in sys.modules:
        return importlib.import_module("http.client")
    sys.modules["ssl"] = None  # type: ignore[assignment]  # makes the import fail
    try:
        return importlib.import_module("http.client")
    finally:
        del sys.modules["ssl"]


def _tls_problem(error: Exception) -> str:
    """Describe a TLS failure; empty if the connection just ended."""
    import ssl  # it is there: the connection has TLS

    from agent.net.tls import handshake_failure as tls_in_words

    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return tls_in_words(error)
    return ""


def judge(status: int, text: str, retry_after_s: float = 0.0, expired: int = 0) -> Answer:
    """Interpret the indexer's answer to a frame."""
    if status == 200:
        return Answer(Outcome.ACCEPTED, status, text, expired=expired)
    if status in (400, 413):
        return Answer(Outcome.REFUSED, status, text)
    if status == 409:
        return Answer(Outcome.CONFLICT, status, text)
    if status == MISDIRECTED:
        return Answer(Outcome.MISDIRECTED, status, text, sent=False)
    if status in (401, 403):
        return Answer(Outcome.DENIED, status, text, retry_after_s)
    outcome = Outcome.BUSY if status in (429, 503) else Outcome.STATUS
    return Answer(outcome, status, text, retry_after_s)


def _seconds(text: str | None) -> float:
    """Parse Retry-After as seconds; a date or an invalid value is 0, leaving only the backoff."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
