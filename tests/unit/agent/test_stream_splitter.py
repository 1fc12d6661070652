"""Lines out of a stream, wherever the reads end."""

from __future__ import annotations

import pytest

from agent.receive.stream_splitter import LineSplitter, PayloadSplitter, UnixSplitter

TEXT = b"a:1|c\nb:2|g\r\n\nlonger:3|d|#x:y\nlast:4|c"


@pytest.mark.parametrize("size", range(1, len(TEXT) + 1))
def test_any_cut_gives_the_same_lines(size: int) -> None:
    framer = LineSplitter(100)
    parts = [framer.feed(TEXT[i : i + size]) for i in range(0, len(TEXT), size)]
    lines = [line for part in parts if part for line in part.split(b"\n")]
    assert [line for line in lines if line] == [b"a:1|c", b"b:2|g\r", b"longer:3|d|#x:y"]
    assert framer.end() == b"last:4|c"
    assert framer.end() == b""
    assert framer.too_long == 0


@pytest.mark.parametrize("size", [1, 3, 7, 200])
def test_a_line_too_long_is_left_out_and_counted(size: int) -> None:
    framer = LineSplitter(10)
    data = b"a:1|c\n" + b"x" * 50 + b"\nb:2|c\n" + b"y" * 11 + b"\nc:3|c\n"
    parts = [framer.feed(data[i : i + size]) for i in range(0, len(data), size)]
    lines = [line for part in parts if part for line in part.split(b"\n")]
    # A line that came whole in one read is the grammar's to refuse; it has cost no memory.
    assert [line for line in lines if line and len(line) <= 10] == [b"a:1|c", b"b:2|c", b"c:3|c"]
    assert framer.too_long + sum(len(line) > 10 for line in lines) == 2


def test_what_does_not_end_takes_no_memory() -> None:
    framer = LineSplitter(10)
    for _ in range(1_000):
        assert framer.feed(b"x" * 100) == b""
    assert framer.too_long == 1
    assert framer.end() == b""


PAYLOADS = (b"a:1|c\nb:2|g", b"", b"c:3|d\n", b"x" * 65_535, b"\0\0\0\0", b"last:1|c")
FRAMED = b"".join(len(p).to_bytes(4, "little") + p for p in PAYLOADS)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 11, 1_000, 65_538, len(FRAMED)])
def test_payloads_whatever_the_cut(size: int) -> None:
    framer = PayloadSplitter()
    parts = [framer.feed(FRAMED[i : i + size]) for i in range(0, len(FRAMED), size)]
    lines = [line for part in parts for line in part.split(b"\n") if line]
    assert lines == [b"a:1|c", b"b:2|g", b"c:3|d", b"x" * 65_535, b"\0\0\0\0", b"last:1|c"]
    assert (framer.pending, framer.broken, framer.too_long) == (False, "", 0)


@pytest.mark.parametrize("size", [1, 9, 100])
def test_a_payload_too_long_breaks_the_connection_after_those_before_it(size: int) -> None:
    framer = PayloadSplitter()
    data = b"\5\0\0\0a:1|c" + b"\0\0\1\0" + b"y" * 50
    parts = [framer.feed(data[i : i + size]) for i in range(0, len(data), size)]
    assert b"".join(parts) == b"a:1|c"
    assert (framer.broken, framer.too_long, framer.pending) == ("length_of_payload", 1, False)
    assert framer.feed(b"\1\0\0\0z") == b""


def test_a_payload_cut_off_is_not_whole() -> None:
    framer = PayloadSplitter()
    assert framer.feed(b"\x09\0\0\0a:1|c\n") == b""
    assert framer.end() == b""
    assert framer.pending


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100])
@pytest.mark.parametrize(
    ("data", "lines", "last", "pending"),
    [
        (b"a:1|c\nb:1|c", [b"a:1|c"], b"b:1|c", False),
        (b"\5\0\0\0a:1|c\5\0\0\0b:1|c", [b"a:1|c", b"b:1|c"], b"", False),
        (b"\n\n\0\0" + b"x" * 2_570, [b"x" * 2_570], b"", False),  # no line begins so: a length of 2,570
        (b"\5\0\0\0a:1", [], b"", True),
        (b"a:1", [], b"a:1", False),
        (b"a", [], b"a", False),
        (b"\5\0\0", [], b"\5\0\0", False),
        (b"", [], b"", False),
    ],
)
def test_unix_streams_are_told_apart(
    size: int, data: bytes, lines: list[bytes], last: bytes, pending: bool
) -> None:
    framer = UnixSplitter(100)
    parts = [framer.feed(data[i : i + size]) for i in range(0, len(data), size)]
    assert [line for part in parts for line in part.split(b"\n") if line] == lines
    assert framer.end() == last
    assert framer.pending is pending
    assert (framer.broken, framer.too_long) == ("", 0)


def test_unix_streams_count_what_is_too_long() -> None:
    lines, payloads = UnixSplitter(10), UnixSplitter(10)
    lines.feed(b"x" * 11)
    payloads.feed(b"\xff\xff\xff\xff"[:2] + b"\0\0\xff")
    assert (lines.too_long, lines.broken, lines.pending) == (1, "", False)
    payloads.feed(b"y" * 65_534 + b"\0\0\1\0")
    assert (payloads.too_long, payloads.broken) == (1, "length_of_payload")
