"""The seam of `meterhouse up` between its light beginning and indexer and API. Imports nothing heavy."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from indexer.http.coalesced_reloads import CoalescedReloads

#: Shows the status until it is cancelled.
StatusLoop = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Sockets:
    """Bound sockets of the indexer (`frames`) and the API (`queries`)."""

    frames: list[socket.socket]
    queries: list[socket.socket]


@dataclass(frozen=True, slots=True)
class Running:
    """Indexer and API that run: the text with all addresses, the status line, the actions of SIGHUP."""

    banner: str
    status_line: StatusLoop | None
    reloads: CoalescedReloads
