"""The agent's event loop: readable sockets and timers, in one thread.

Owns waiting. Callbacks run one after another and never block. Names follow asyncio, which would do the same
for 5 MiB more and half of a sidecar's start time. An exception in a callback ends `run`.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, Self

Callback = Callable[[], object]


class HasFileno(Protocol):
    """A socket, or an object that has one."""

    def fileno(self) -> int:
        """Return the file descriptor."""


_WAKE: Final = b"\0"


class Timer:
    """A scheduled callback."""

    __slots__ = ("_number", "callback", "when_s")

    def __init__(self, when_s: float, number: int, callback: Callback) -> None:
        self.callback: Callback | None = callback
        self.when_s = when_s  # by time.monotonic()
        self._number = number

    def cancel(self) -> None:
        """Prevent the call."""
        self.callback = None

    def __lt__(self, other: Timer) -> bool:
        return (self.when_s, self._number) < (other.when_s, other._number)


class Loop:
    """An event loop and context manager for one thread.

    Other threads may call `stop` and `call_soon_threadsafe`.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []  # a heap
        self._soon: deque[Timer] = deque()
        self._from_others: deque[Callback] = deque()
        self._numbers = itertools.count()
        self._stopped = False
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._on_wake)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        os.close(self._woken)
        os.close(self._wake)

    def add_reader(self, sock: HasFileno, callback: Callback) -> None:
        """Call `callback` whenever the socket is readable, until `remove_reader`."""
        self._selector.register(sock, selectors.EVENT_READ, callback)

    def remove_reader(self, sock: HasFileno) -> None:
        """Stop watching a socket; to be called before the socket is closed."""
        self._selector.unregister(sock)

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        """Call `callback` once, after `delay_s`."""
        timer = Timer(time.monotonic() + delay_s, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    def call_soon(self, callback: Callback) -> Timer:
        """Call `callback` once, after the sockets that are readable now."""
        timer = Timer(0.0, next(self._numbers), callback)
        self._soon.append(timer)
        return timer

    def call_soon_threadsafe(self, callback: Callback) -> None:
        """Call `callback` once; may be used from any thread or signal handler."""
        self._from_others.append(callback)
        self._wake_up()

    def stop(self) -> None:
        """Make `run` return, now or when it is called; from any thread or signal handler."""
        self._stopped = True
        self._wake_up()

    def run(self) -> None:
        """Run callbacks until `stop`."""
        while not self._stopped:
            self.turn()

    def turn(self, timeout_s: float | None = None) -> None:
        """Wait for work for at most `timeout_s`, then run everything that is due."""
        due = len(self._soon)
        for key, _ in self._selector.select(self._wait_s(timeout_s)):
            if self._selector.get_map().get(key.fd) is key:  # otherwise an earlier callback removed it
                key.data()
        for _ in range(due):
            _call(self._soon.popleft())
        now_s = time.monotonic()
        while self._timers and self._timers[0].when_s <= now_s:
            _call(heapq.heappop(self._timers))
        for _ in range(len(self._from_others)):
            self._from_others.popleft()()

    def _wait_s(self, timeout_s: float | None) -> float | None:
        if self._soon or self._from_others:
            return 0.0
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return timeout_s
        wait_s = max(self._timers[0].when_s - time.monotonic(), 0.0)
        return wait_s if timeout_s is None else min(wait_s, timeout_s)

    def _wake_up(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a wake-up is already pending
            os.write(self._wake, _WAKE)

    def _on_wake(self) -> None:
        os.read(self._woken, 4096)


def _call(timer: Timer) -> None:
    callback, timer.callback = timer.callback, None
    if callback:
        callback()
