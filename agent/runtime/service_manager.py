"""Tells systemd that the service has started, lives, and stops (`Type=notify`, `WatchdogSec=`).

A message is a datagram to the socket that `$NOTIFY_SOCKET` names, see sd_notify(3). Without the variable
nothing is sent. A failing message is dropped: a service works without its manager.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

#: Sends of a sign of life within the time that systemd allows.
_PER_WATCHDOG: Final = 3
#: How long a manager may be busy before a message is dropped. A sign of life never waits.
_WAIT_S: Final = 2.0


class ServiceManager:
    """The service manager's socket. `address`: empty for none. `watchdog_s`: None, or the longest silence."""

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s if address else None

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read `$NOTIFY_SOCKET`, and `$WATCHDOG_USEC` if it is meant for this process."""
        watchdog_s = None
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with contextlib.suppress(ValueError):
                watchdog_s = int(environ.get("WATCHDOG_USEC", "")) / 1e6 or None
        return cls(environ.get("NOTIFY_SOCKET", ""), watchdog_s)

    def ready(self, status: str) -> None:
        """Tell that the service has started; `status` is shown by `systemctl status`."""
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """Tell that the service stops."""
        self._send("STOPPING=1")

    def keep_alive(self, call_later: Callable[[float, Callable[[], None]], Any]) -> None:
        """Send signs of life for as long as the event loop runs that `call_later` belongs to.

        A loop that hangs sends none, and systemd restarts the service.
        """
        if self.watchdog_s is None:
            return
        self._send("WATCHDOG=1", wait_s=0)
        call_later(self.watchdog_s / _PER_WATCHDOG, lambda: self.keep_alive(call_later))

    def _send(self, message: str, wait_s: float = _WAIT_S) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(wait_s)
            sock.sendto(message.encode(), self._address)
