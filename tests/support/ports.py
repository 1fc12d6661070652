"""Ports for processes that are told where to listen: no other socket of the machine gets one by chance.

A port from the kernel (port 0) is free again once it is closed. Between then and its use, or while its owner
is restarted, the kernel may give it to the server of another test, which then receives this one's frames.
These ports are below the kernel's range, and each worker of a test run has its own.
"""

from __future__ import annotations

import os
import random
import socket
from collections import deque
from contextlib import ExitStack
from typing import Final

_FIRST: Final = 10_000
_PER_WORKER: Final = 2_500
_WORKERS: Final = 8
#: Ports that may be used soon: of a hundred drawn from 2,500, two would often be the same.
_given: Final[deque[int]] = deque(maxlen=500)


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free for TCP and UDP."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    first = _FIRST + int(worker) % _WORKERS * _PER_WORKER
    for port in random.sample(range(first, first + _PER_WORKER), 1_000):
        if port not in _given and _is_free(port):
            _given.append(port)
            return port
    raise OSError(f"no free port in {first} to {first + _PER_WORKER}")


def _is_free(port: int) -> bool:
    with ExitStack() as closing:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            sock = closing.enter_context(socket.socket(type=kind))
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
