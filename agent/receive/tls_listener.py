"""TLS of the agent's own listeners: TCP StatsD, in its loop, and the HTTP port for operators, in threads.

Owns the handshake and its failures: they are counted, and logged at most once in 10 s. A client that leaves
before its handshake is done is not logged.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

from agent.net.tls import TlsContexts, handshake_failure
from agent.receive.stream import UntrustedError
from agent.runtime.logs import Log


class TlsStream:
    """A non-blocking socket with the few methods that agent/receive/stream.py needs."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self.waits_for_handshake = True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Announce the end to the client without waiting for an answer, and close."""
        if not self.waits_for_handshake:
            with contextlib.suppress(OSError):
                self._sock.unwrap()
        self._sock.close()

    def recv_into(self, buffer: memoryview) -> int:
        """Read; return 0 when the client ended the stream.

        Raises BlockingIOError when there is nothing to read for now, UntrustedError, ConnectionError.
        """
        try:
            if self.waits_for_handshake:
                self._sock.do_handshake()
                self.waits_for_handshake = False
            return self._sock.recv_into(buffer)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except ssl.SSLError as e:
            if self.waits_for_handshake and _says_why(e):
                raise UntrustedError(handshake_failure(e)) from None
            raise ConnectionError(handshake_failure(e)) from None


class TlsAcceptor:
    """Wraps accepted sockets of one listener."""

    def __init__(self, contexts: TlsContexts, log: Log) -> None:
        self._contexts = contexts
        self._log = log
        self._lock = threading.Lock()
        self.failed = 0  # handshakes of threads

    def stream(self, sock: socket.socket) -> TlsStream:
        """Take a socket that does not block. Raises OSError when its client has gone."""
        return TlsStream(self.wrap(sock))

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        """Return the socket with TLS, before its handshake. Raises OSError when its client has gone."""
        try:
            return self._contexts.current().wrap_socket(
                sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
            )
        except BaseException:
            sock.close()
            raise

    def shake(self, sock: ssl.SSLSocket, timeout_s: float, peer: str) -> bool:
        """Do the handshake, and wait for it; return whether the client is admitted."""
        try:
            sock.settimeout(timeout_s)
            sock.do_handshake()
        except ssl.SSLError as e:
            if _says_why(e):
                with self._lock:
                    self.failed += 1
                self._log.throttled(
                    "handshake_failed", listener="ops", peer=peer, reason=handshake_failure(e)
                )
            return False
        except OSError:  # reset, or too slow
            return False
        return True


def _says_why(error: ssl.SSLError) -> bool:
    """Return False where the client has just gone."""
    return not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
