"""Clients with a known truth: lines over TCP and UDP, messages until they are answered 200."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.e2e.product import wait_for

#: Lines of a datagram: all of them fit 1,432 bytes.
_PER_PACKET: Final = 12


def send_udp(address: tuple[str, int], lines: Sequence[str]) -> None:
    """Send lines, several in a packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for i in range(0, len(lines), _PER_PACKET):
            sock.sendto("\n".join(lines[i : i + _PER_PACKET]).encode(), address)


class Messenger:
    """Posts requests of messages in a thread, each under one key until it is answered 200."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._queue: queue.Queue[tuple[bytes, str] | None] = queue.Queue()
        self._left = 0
        self._end = threading.Event()
        #: Answers that no retry mends.
        self.refused: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Hand over one request."""
        self._left += 1
        self._queue.put((json.dumps(messages).encode(), uuid.uuid4().hex))

    def wait(self, deadline_s: float) -> None:
        """Return when all are answered 200."""
        wait_for(lambda: self._left == 0 or bool(self.refused), "messages are answered 200", deadline_s)
        assert not self.refused, self.refused

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self._queue.put(None)
        self._thread.join(30)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            while not self._end.is_set():
                status, text = self._post(*job)
                if status == 200:
                    break
                if status and status < 500 and status != 429:
                    self.refused.append(f"{status} {text}")
                    break
                self._end.wait(0.1)
            self._left -= 1

    def _post(self, body: bytes, key: str) -> tuple[int, str]:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self._url, body, headers), timeout=10
            ) as answer:
                return answer.status, ""
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read().decode(errors="replace")
        except OSError:
            return 0, ""


def past_hour() -> int:
    """Return the start of an hour that ended an hour ago or more."""
    return int(time.time()) // 3_600 * 3_600 - 7_200
