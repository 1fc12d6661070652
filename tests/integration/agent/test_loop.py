"""The agent's loop: order, timers, other threads, and sockets that go away meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from agent.runtime.loop import Loop

LONG_S = 60.0


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_timers_come_in_order_and_not_before_their_time(loop: Loop) -> None:
    seen: list[str] = []
    started = time.monotonic()
    # Far enough from each other for a thread that waits for a CPU between two of these lines.
    loop.call_later(0.8, loop.stop)
    loop.call_later(0.4, lambda: seen.append("b"))
    loop.call_later(0.4, lambda: seen.append("c"))
    loop.call_later(0.0, lambda: seen.append("a"))
    loop.call_later(0.2, lambda: seen.append("never")).cancel()
    loop.run()
    assert seen == ["a", "b", "c"]
    assert time.monotonic() - started >= 0.8


def test_a_timer_that_starts_itself_again_lets_others_run(loop: Loop) -> None:
    turns = 0

    def again() -> None:
        nonlocal turns
        turns += 1
        loop.call_later(0.0, again)

    loop.call_soon(again)
    loop.call_later(0.2, loop.stop)
    loop.run()
    assert turns > 1


def test_soon_is_after_the_sockets(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    seen: list[str] = []

    def readable() -> None:
        seen.append("socket")
        one.recv(1)
        loop.call_soon(loop.stop)

    def soon() -> None:
        seen.append("soon")
        if len(seen) < 2:
            other.send(b"x")
            loop.call_soon(soon)

    loop.add_reader(one, readable)
    loop.call_soon(soon)
    loop.call_soon(lambda: seen.append("cancelled")).cancel()
    loop.run()
    assert seen == ["soon", "socket", "soon"]


def test_a_removed_socket_is_not_called_in_the_same_turn(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    seen: list[int] = []

    def readable(i: int) -> None:
        seen.append(i)
        for one, _ in pairs:
            loop.remove_reader(one)

    for i, (one, other) in enumerate(pairs):
        loop.add_reader(one, partial(readable, i))
        other.send(b"x")
    loop.turn()
    loop.turn(0.0)
    assert len(seen) == 1
    for one, other in pairs:
        one.close()
        other.close()


def test_other_threads_wake_it(loop: Loop) -> None:
    seen: list[int] = []
    loop.call_later(LONG_S, lambda: seen.append(-1))

    def work() -> None:
        for i in range(1_000):
            loop.call_soon_threadsafe(partial(seen.append, i))
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=work)
    thread.start()
    loop.run()
    thread.join()
    assert seen == list(range(1_000))


def test_stop_before_run(loop: Loop) -> None:
    loop.stop()
    loop.run()


def test_many_wake_ups_never_wait(loop: Loop) -> None:
    """The pipe that wakes it is full long before that."""
    for _ in range(100_000):
        loop.stop()
    loop.run()


def test_an_exception_ends_it(loop: Loop) -> None:
    def wrong() -> None:
        raise KeyError

    loop.call_soon(wrong)
    with pytest.raises(KeyError):
        loop.run()
