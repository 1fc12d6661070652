"""Lines out of a stream, wherever the reads end."""

from __future__ import annotations

import pytest

from agent.framing import LineFramer

TEXT = b"a:1|c\nb:2|g\r\n\nlonger:3|d|#x:y\nlast:4|c"


@pytest.mark.parametrize("size", range(1, len(TEXT) + 1))
def test_any_cut_gives_the_same_lines(size: int) -> None:
    framer = LineFramer(100)
    parts = [framer.feed(TEXT[i : i + size]) for i in range(0, len(TEXT), size)]
    lines = [line for part in parts if part for line in part.split(b"\n")]
    assert [line for line in lines if line] == [b"a:1|c", b"b:2|g\r", b"longer:3|d|#x:y"]
    assert framer.end() == b"last:4|c"
    assert framer.end() == b""
    assert framer.too_long == 0


@pytest.mark.parametrize("size", [1, 3, 7, 200])
def test_a_line_too_long_is_left_out_and_counted(size: int) -> None:
    framer = LineFramer(10)
    data = b"a:1|c\n" + b"x" * 50 + b"\nb:2|c\n" + b"y" * 11 + b"\nc:3|c\n"
    parts = [framer.feed(data[i : i + size]) for i in range(0, len(data), size)]
    lines = [line for part in parts if part for line in part.split(b"\n")]
    # A line that came whole in one read is the grammar's to refuse; it has cost no memory.
    assert [line for line in lines if line and len(line) <= 10] == [b"a:1|c", b"b:2|c", b"c:3|c"]
    assert framer.too_long + sum(len(line) > 10 for line in lines) == 2


def test_what_does_not_end_takes_no_memory() -> None:
    framer = LineFramer(10)
    for _ in range(1_000):
        assert framer.feed(b"x" * 100) == b""
    assert framer.too_long == 1
    assert framer.end() == b""
