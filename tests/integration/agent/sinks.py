"""A sink that keeps everything listeners hand on, and a loop that runs until a condition holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from agent.runtime.loop import Loop

DEADLINE_S: Final = 120.0


class TestLoop(Loop):
    """Runs by conditions."""

    __test__ = False

    def until(self, condition: Callable[..., object]) -> None:
        """Run until `condition` holds; fail after a deadline."""
        end = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end
            self.turn(0.002)

    def for_s(self, seconds: float) -> None:
        """Run for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.turn(left)


class Got:
    """A sink that keeps all."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []
        self.clients: list[bytes] = []

    def __call__(self, data: bytes, client: bytes) -> None:
        self.batches.append(data)
        self.clients.append(client)

    @property
    def lines(self) -> list[bytes]:
        return [line for data in self.batches for line in data.split(b"\n") if line]
