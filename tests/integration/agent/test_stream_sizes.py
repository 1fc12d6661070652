"""A stream splitter takes the size of the bytes it holds, whatever the size of their pieces."""

from __future__ import annotations

import tracemalloc

import pytest

from agent.receive.stream_splitter import LineSplitter


@pytest.mark.parametrize("size", [1, 2, 7, 1_000, 200_000])
def test_what_has_not_ended_takes_its_own_size(size: int) -> None:
    """However small the pieces are in which a client sends it."""
    framer = LineSplitter(65_536)
    pieces = [bytes([i % 200 + 40]) * size for i in range(3)]
    tracemalloc.start()
    most = 0
    for i in range(200_000 // size + 1):
        framer.feed(pieces[i % 3])
        most = max(most, tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert most < 2 * 65_536
    assert framer.too_long == 1
