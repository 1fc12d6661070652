"""Frames out: threads that send the spool's frames to the indexer and try again until it has them.

Owns the delivery rules: an answer of 200 ends a frame, 400 and 413 drop it (counted; sending it again cannot
help), everything else sends the very same bytes again. After a failure all wait: exponential backoff with
full jitter, at least what Retry-After says; then one frame probes, and only its success lets the others go
on. So a dead indexer is asked once in a while by each agent, and not by all agents at the same time.

Uses threads and http.client, because sending is waiting: the interpreter is free meanwhile.
"""

from __future__ import annotations

import enum
import importlib
import math
import random
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from agent.addresses import AddressError
from agent.frame import CONTENT_TYPE
from agent.hidden import hidden_url
from agent.login import Login
from agent.logs import Log
from agent.settings import Forward
from agent.spool import Spool
from agent.spool_record import Parcel

if TYPE_CHECKING:
    from http.client import HTTPConnection

_MAX_ANSWER_BYTES: Final = 64 << 10
#: While draining, so often is a dead indexer asked.
_DRAIN_BACKOFF_S: Final = 0.5


class Outcome(enum.Enum):
    """How a try ended; all after CONFLICT are reasons to try again. Labels of counters."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # 400, 413
    CONFLICT = "conflict"  # 409: the indexer has other bytes under this frame's identity
    DENIED = "denied"  # 401, 403: the token, or where it may write to
    BUSY = "busy"  # 503, 429
    STATUS = "status"  # any other answer
    CONNECTION = "connection"  # none: refused, reset, name not found
    TIMEOUT = "timeout"  # none in time
    TLS = "tls"  # none: a certificate is refused, the indexer's or the agent's


#: Outcomes after which a frame is not sent again.
FINAL: Final = frozenset({Outcome.ACCEPTED, Outcome.REFUSED, Outcome.CONFLICT})


class Answer(msgspec.Struct, frozen=True):
    """What a try gave."""

    outcome: Outcome
    status: int = 0
    text: str = ""
    retry_after_s: float = 0.0


def in_words(answer: Answer) -> str:
    """Say in plain words what a failed try means, for /readyz."""
    match answer.status:
        case 401:
            return "the indexer refuses the token: 401"
        case 403:
            return "the indexer does not let the token write to this org and project: 403"
        case 429:
            return "the indexer takes no more for now, a limit is reached: 429"
        case 503:
            return "the indexer or its store is busy or down: 503"
    match answer.outcome:
        case Outcome.TIMEOUT:
            return "the indexer does not answer in time"
        case Outcome.TLS:
            return f"no TLS with the indexer: {answer.text}"
        case Outcome.CONNECTION:
            return "the indexer cannot be reached"
        case _:
            return f"the indexer answers {answer.status}"


class Circuit:
    """When the next try may start. Pure: times are arguments (any monotonic clock, seconds)."""

    def __init__(self, base_s: float, max_s: float, rng: random.Random) -> None:
        self._base_s = base_s
        self._max_s = max_s
        self._rng = rng
        self._open_until_s = 0.0
        self._probing = False
        self.failures = 0  # in a row

    def wait_s(self, now_s: float) -> float:
        """0 if a try may start now (`begin` it); else how long to wait before asking again."""
        if not self.failures:
            return 0.0
        if self._probing:
            return self._base_s
        return max(self._open_until_s - now_s, 0.0)

    def begin(self) -> None:
        """A try starts. While there are failures it is the only one."""
        self._probing = bool(self.failures)

    def succeeded(self) -> None:
        """The indexer answered: everybody may go on."""
        self.failures = 0
        self._probing = False

    def hurry(self, until_s: float) -> None:
        """The next try may start at `until_s` at the latest."""
        self._open_until_s = min(self._open_until_s, until_s)

    def abandoned(self) -> None:
        """The try that began did not take place."""
        self._probing = False

    def failed(self, now_s: float, retry_after_s: float = 0.0, max_s: float | None = None) -> None:
        """No answer, or "later": wait, longer with each failure. `max_s` overrides the longest wait."""
        longest = self._max_s if max_s is None else max_s
        if not self._probing and self.failures and now_s < self._open_until_s:
            return  # one of several tries under way when the first failed: the same failure
        self._probing = False
        self.failures += 1
        ceiling = min(longest, self._base_s * 2.0 ** min(self.failures - 1, 60))
        self._open_until_s = now_s + max(self.jitter_s(ceiling), min(retry_after_s, longest))

    def jitter_s(self, ceiling_s: float) -> float:
        """Full jitter: anything up to the ceiling."""
        return self._rng.uniform(0.0, ceiling_s)


class Forwarder:
    """Runs `connections` threads over a spool. Counters are plain numbers for agent/metrics.py."""

    def __init__(
        self,
        settings: Forward,
        spool: Spool,
        log: Log,
        rng: random.Random | None = None,
        login: Login | None = None,
    ) -> None:
        self.sent_frames = 0
        self.sent_rows = 0
        self.sent_lines = 0
        self.sent_bytes = 0
        self.retries: Counter[Outcome] = Counter()
        self.dropped_frames: Counter[Outcome] = Counter()
        self.dropped_rows: Counter[Outcome] = Counter()
        self.dropped_lines: Counter[Outcome] = Counter()
        self.last_success_s = 0.0  # Unix time
        self.problem = ""  # of the last try that failed, in words; empty while the indexer answers
        self._settings = settings
        self._spool = spool
        self._log = log
        self._lock = threading.Condition()
        self._circuit = Circuit(settings.backoff_s, settings.max_backoff_s, rng or random.Random())  # noqa: S311
        self._draining = False
        self._failed_draining = False
        self._stopped = False
        login = login or Login(settings, log)
        channels = [Channel(settings, login=login) for _ in range(settings.connections)]
        self._threads = [
            threading.Thread(target=self._work, args=(channel,), name=f"forward-{i}", daemon=True)
            for i, channel in enumerate(channels)
        ]

    @property
    def failures_in_a_row(self) -> int:
        """0 while the indexer answers."""
        return self._circuit.failures

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def drain(self, deadline_s: float) -> bool:
        """Send what is left for at most `deadline_s`, then stop. True if nothing is left.

        With a spool on disk the first failure ends it: the next run sends the rest.
        """
        with self._lock:
            self._draining = True
            self._circuit.hurry(time.monotonic() + self._circuit.jitter_s(_DRAIN_BACKOFF_S))
            self._lock.notify_all()
        empty = self._spool.wait_empty(deadline_s, lambda: self._spool.on_disk and self._failed_draining)
        with self._lock:
            self._stopped = True
            self._lock.notify_all()
        self._spool.close()
        if empty:
            for thread in self._threads:
                if thread.is_alive():
                    thread.join(self._settings.timeout_s)
        return empty

    def _work(self, channel: Channel) -> None:
        try:
            while self._wait_for_turn():
                parcel = self._spool.take()
                if parcel is None:
                    with self._lock:
                        self._circuit.abandoned()
                        self._lock.notify_all()
                    continue
                self._settle(parcel, channel.send(parcel.data))
        finally:
            channel.close()

    def _wait_for_turn(self) -> bool:
        """Waits for a frame and for leave to send it, and begins a try; False when all is over."""
        while not self._stopped:
            if not self._spool.wait_any():
                return False
            with self._lock:
                wait_s = self._circuit.wait_s(time.monotonic())
                if not wait_s:
                    self._circuit.begin()
                    return True
                self._lock.wait(wait_s)
        return False

    def _settle(self, parcel: Parcel, answer: Answer) -> None:
        over = answer.outcome in FINAL
        with self._lock:
            if over:
                if self._circuit.failures:
                    self._log.info("indexer_back", after_failures=self._circuit.failures)
                self._circuit.succeeded()
                self.problem = ""
            else:
                self.problem = in_words(answer)
                longest = _DRAIN_BACKOFF_S if self._draining else None
                self._circuit.failed(time.monotonic(), answer.retry_after_s, longest)
                self._failed_draining = self._draining
                self.retries[answer.outcome] += 1
            self._lock.notify_all()
            if answer.outcome is Outcome.ACCEPTED:
                self.sent_frames += 1
                self.sent_rows += parcel.rows
                self.sent_lines += parcel.lines
                self.sent_bytes += len(parcel.data)
                self.last_success_s = time.time()
            elif over:
                self.dropped_frames[answer.outcome] += 1
                self.dropped_rows[answer.outcome] += parcel.rows
                self.dropped_lines[answer.outcome] += parcel.lines
        if over:
            self._spool.done(parcel)
        else:
            self._spool.again(parcel)
        if answer.outcome is not Outcome.ACCEPTED:
            self._log.throttled(
                "frame_refused" if over else "send_failed",
                frame=parcel.identity,
                rows=parcel.rows,
                outcome=answer.outcome.value,
                status=answer.status,
                text=answer.text[:200],
                failures=self._circuit.failures,
            )


class Channel:
    """One keep-alive connection to the indexer, opened when needed. For one thread.

    Raises AddressError for a URL that cannot be used.
    """

    def __init__(
        self,
        settings: Forward,
        path: str = "/v1/frames",
        content_type: str = CONTENT_TYPE,
        login: Login | None = None,
    ) -> None:
        url = urlsplit(settings.url)
        if url.scheme not in ("http", "https") or not url.hostname:
            shown = hidden_url(settings.url)
            raise AddressError(f"agent.forward.url = {shown!r}: http://host:port wanted")
        self._http = _http_client(url.scheme == "https")
        self._address = (url.hostname, url.port)
        self._timeout_s = settings.timeout_s
        self._path = url.path.rstrip("/") + path
        self._headers: dict[str, str | bytes] = {"Content-Type": content_type}
        self._login = login or Login(settings, Log())
        self._context = self._login.context()
        self._connection = self._new_connection()

    def _new_connection(self) -> HTTPConnection:
        """A connection that opens when it is used."""
        host, port = self._address
        if self._context is None:
            plain: HTTPConnection = self._http.HTTPConnection(host, port, timeout=self._timeout_s)
            return plain
        secure: HTTPConnection = self._http.HTTPSConnection(
            host, port, timeout=self._timeout_s, context=self._context
        )
        return secure

    def _identify(self) -> None:
        """Take what has changed: a token, or certificates, which need a new connection."""
        if authorization := self._login.authorization():
            self._headers["Authorization"] = authorization
        context = self._login.context()
        if context is not self._context:
            self._context = context
            self._connection.close()
            self._connection = self._new_connection()

    def send(self, data: bytes) -> Answer:
        """One try, never an exception."""
        self._identify()
        reused = self._connection.sock is not None
        answer = self._try(data)
        if answer.outcome is Outcome.CONNECTION and reused:
            return self._try(data)  # an idle connection that the indexer had closed says nothing about it
        return answer

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _try(self, data: bytes) -> Answer:
        try:
            self._connection.request("POST", self._path, body=data, headers=self._headers)
            response = self._connection.getresponse()
            body = response.read(_MAX_ANSWER_BYTES)
            if not response.isclosed():
                self._connection.close()
        except TimeoutError:
            self._connection.close()
            return Answer(Outcome.TIMEOUT)
        except (OSError, self._http.HTTPException) as e:
            self._connection.close()
            if self._context is not None and (problem := _tls_problem(e)):
                return Answer(Outcome.TLS, text=problem)
            return Answer(Outcome.CONNECTION, text=str(e) or type(e).__name__)
        return _judge(response.status, body, response.getheader("Retry-After"))


def _http_client(tls: bool) -> Any:
    """The module http.client, which does without ssl where there is none: 2.5 MiB that only TLS needs."""
    if tls or "ssl" in sys.modules or "http.client" in sys.modules:
        return importlib.import_module("http.client")
    sys.modules["ssl"] = None  # type: ignore[assignment]  # what makes an import fail, says the import system
    try:
        return importlib.import_module("http.client")
    finally:
        del sys.modules["ssl"]


def _tls_problem(error: Exception) -> str:
    """Say what is wrong with TLS; nothing where the connection just ended."""
    import ssl  # it is there: the connection has TLS

    from agent.tls import in_words as tls_in_words

    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return tls_in_words(error)
    return ""


def _judge(status: int, body: bytes, retry_after: str | None) -> Answer:
    text = body.decode(errors="replace")
    if status == 200:
        return Answer(Outcome.ACCEPTED, status)
    if status in (400, 413):
        return Answer(Outcome.REFUSED, status, text)
    if status == 409:
        return Answer(Outcome.CONFLICT, status, text)
    if status in (401, 403):
        return Answer(Outcome.DENIED, status, text, _seconds(retry_after))
    outcome = Outcome.BUSY if status in (429, 503) else Outcome.STATUS
    return Answer(outcome, status, text, _seconds(retry_after))


def _seconds(text: str | None) -> float:
    """Retry-After as seconds; a date or nonsense is 0, the backoff then stands alone."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
