"""The agent's credentials for the indexer: a token, perhaps from a file, and a certificate over TLS.

Owns reading the token file and the certificates, and rereading them when they change. A failed reread changes
nothing and is logged. Thread-safe: all connections of an agent share one object.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.runtime.logs import Log
from agent.runtime.watched_files import WatchedFiles
from agent.settings import ForwardSettings, is_one_line

if TYPE_CHECKING:
    import ssl

_MAX_TOKEN_BYTES: Final = 4_096


class CredentialsError(OSError):
    """A token file that cannot be used; the text names the setting and the file, never the token."""


class Credentials:
    """The token from `settings.token` or `settings.token_file`, and the TLS context for https.

    Raises CredentialsError and TlsError for files that cannot be used at the start.
    """

    def __init__(
        self, settings: ForwardSettings, log: Log, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = settings.token_file
        self._log = log
        self._lock = threading.Lock()
        self._file = WatchedFiles([self._path], clock_s)
        self._token = _read(self._path) if self._path else settings.token
        self._contexts = None
        if settings.url.lower().startswith("https://"):
            from agent.net.tls import client_contexts  # imported only for https: ssl costs memory

            self._contexts = client_contexts("agent.forward.tls", settings.tls, log, clock_s)
        elif settings.tls.ca or settings.tls.cert:
            log.warning(
                "tls_unused", setting="agent.forward.tls", hint="agent.forward.url begins with https://"
            )

    def context(self) -> ssl.SSLContext | None:
        """Return the context for a new connection, a new object after a change; None without TLS."""
        return self._contexts.current() if self._contexts else None

    def authorization(self) -> bytes:
        """Return the value of the header `Authorization`; empty without a token."""
        if self._path and self._file.changed():
            with self._lock:
                self._read_again()
        return f"Bearer {self._token}".encode(errors="surrogateescape") if self._token else b""

    def _read_again(self) -> None:
        try:
            self._token = _read(self._path)
        except CredentialsError as e:
            self._log.warning("token_not_read", error=e, kept="the old one")
        else:
            self._log.info("token_read", path=self._path)


def _read(path: str) -> str:
    """Read a token file. Raises CredentialsError."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_TOKEN_BYTES + 1)
        token = data.decode().strip()
    except OSError as e:
        raise CredentialsError(
            f"agent.forward.token_file = {path!r}: {e.strerror}: expected a readable file"
        ) from None
    except UnicodeDecodeError:
        token = ""
    if not token or len(data) > _MAX_TOKEN_BYTES or not is_one_line(token):
        raise CredentialsError(
            f"agent.forward.token_file = {path!r}: no token: expected one line of UTF-8 text of at most"
            f" {_MAX_TOKEN_BYTES} bytes"
        )
    return token
