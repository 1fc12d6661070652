"""TLS contexts of listeners and of the connection to the indexer, made from files that may change.

Owns reading and reloading certificates: a changed file makes a new context for later connections. Files that
cannot be used change nothing and are logged.

Imports ssl, which costs memory: the agent imports this module only where TLS is set.
"""

from __future__ import annotations

import os
import ssl
import stat
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from agent.runtime.logs import Log
from agent.runtime.watched_files import WatchedFiles
from agent.settings import ClientTls, Tls

_OTHERS: Final = stat.S_IROTH


class TlsError(OSError):
    """Certificates or keys that cannot be used; the text names the setting and the file."""


class TlsContexts:
    """The context that `make` builds from files, rebuilt when they change."""

    def __init__(
        self,
        section: str,
        make: Callable[[], ssl.SSLContext],
        paths: Sequence[str],
        log: Log,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._section = section
        self._make = make
        self._log = log
        self._lock = threading.Lock()
        self._files = WatchedFiles(paths, clock_s)
        self._context = make()

    def current(self) -> ssl.SSLContext:
        """Return the context for a new connection; it is another object after a change."""
        if self._files.changed():
            with self._lock:
                self._read_again()
        return self._context

    def _read_again(self) -> None:
        try:
            self._context = self._make()
        except TlsError as e:
            self._log.warning(
                "certificates_not_read", section=self._section, error=e, kept="the previous ones"
            )
        else:
            self._log.info("certificates_read", section=self._section)


def listener_contexts(
    section: str, settings: Tls, log: Log, clock_s: Callable[[], float] = time.monotonic
) -> TlsContexts:
    """Return the contexts of a listener. Raises TlsError."""
    if _for_others(settings.key):
        log.warning("readable_key", setting=f"{section}.key", path=settings.key, hint="chmod 600")
    paths = (settings.cert, settings.key, settings.client_ca)
    return TlsContexts(section, lambda: _listening(section, settings), paths, log, clock_s)


def check_listener(section: str, settings: Tls) -> None:
    """Raise TlsError for certificates and keys of a listener that cannot be used."""
    if settings.cert:
        _listening(section, settings)


def client_contexts(
    section: str, settings: ClientTls, log: Log, clock_s: Callable[[], float] = time.monotonic
) -> TlsContexts:
    """Return the contexts of connections to a server. Raises TlsError."""
    paths = (settings.ca, settings.cert, settings.key)
    return TlsContexts(section, lambda: _connecting(section, settings), paths, log, clock_s)


def handshake_failure(error: ssl.SSLError) -> str:
    """Describe why a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the other side's certificate is refused: {error.verify_message}"
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "alert" in reason:
        return f"the other side refused: {reason}"
    return reason


def _listening(section: str, settings: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    _load_chain(context, section, settings.cert, settings.key)
    if settings.client_ca:
        _load_ca(context, f"{section}.client_ca", settings.client_ca)
        required = settings.require_client_cert
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        # A resumed session is not verified again: with certificates of clients each handshake is whole.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    return context


def _connecting(section: str, settings: ClientTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca:
        _load_ca(context, f"{section}.ca", settings.ca)
        # The file may hold the server's own certificate in place of a CA's.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    else:
        context.load_default_certs()
    context.check_hostname = settings.check_name
    if settings.cert:
        _load_chain(context, section, settings.cert, settings.key)
    return context


def _load_chain(context: ssl.SSLContext, section: str, cert: str, key: str) -> None:
    for name, path in (("cert", cert), ("key", key)):
        _check_readable(f"{section}.{name}", path)
    try:
        context.load_cert_chain(cert, key, password=lambda: "")  # else OpenSSL asks the terminal
    except (OSError, ValueError) as e:
        raise TlsError(
            f"{section}.cert = {cert!r}, {section}.key = {key!r}: {_problem(e)}: expected PEM files of a"
            " certificate with its chain, and of its key without a passphrase"
        ) from None


def _load_ca(context: ssl.SSLContext, setting: str, path: str) -> None:
    _check_readable(setting, path)
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ValueError) as e:
        raise TlsError(f"{setting} = {path!r}: {_problem(e)}: expected a PEM file of certificates") from None


def _check_readable(setting: str, path: str) -> None:
    """Raise TlsError if a file cannot be read; OpenSSL's own error names no file."""
    try:
        with open(path, "rb"):  # noqa: PTH123 - a string is a path, too
            pass
    except OSError as e:
        raise TlsError(f"{setting} = {path!r}: {e.strerror}: expected a PEM file") from None


def _problem(error: Exception) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return (reason or str(error)).lower().replace("_", " ")


def _for_others(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & _OTHERS)  # noqa: PTH116 - a string is a path, too
    except OSError:
        return False
