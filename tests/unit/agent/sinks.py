"""A sink that keeps what listeners hand on, and waiting for conditions within a loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

DEADLINE_S: Final = 15.0


async def until(condition: Callable[..., object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


class Got:
    """A sink that keeps all."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        self.batches.append(data)

    @property
    def lines(self) -> list[bytes]:
        return [line for data in self.batches for line in data.split(b"\n") if line]
