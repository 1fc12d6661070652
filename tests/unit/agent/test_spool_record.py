"""Records of the spool: whole, torn at every byte, with every bit flipped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.forward.spool.record import (
    DONE,
    HEADER_BYTES,
    STATE_OFFSET,
    EncodedFrame,
    RecordError,
    decode_body,
    decode_header,
    encode,
    record_bytes,
)

PARCEL = EncodedFrame(
    "web-1/5/7", b"the very bytes", rows=3, number=7, lines=40, created_ms=1_700_000_000_000
)


def read(data: bytes) -> EncodedFrame | None:
    try:
        head = decode_header(data[:HEADER_BYTES])
        return decode_body(head, data[HEADER_BYTES:])
    except RecordError:
        return None


@given(
    st.text(st.characters(codec=None), max_size=50),
    st.binary(max_size=300),
    st.tuples(*[st.integers(0, 2**32 - 1)] * 2, *[st.integers(0, 2**64 - 1)] * 2),
)
def test_what_is_written_is_read(identity: str, data: bytes, numbers: tuple[int, int, int, int]) -> None:
    rows, lines, number, created_ms = numbers
    parcel = EncodedFrame(identity, data, rows, number, lines, created_ms)
    assert read(encode(parcel)) == parcel
    assert len(encode(parcel)) == record_bytes(parcel)


def test_torn_at_every_byte() -> None:
    whole = encode(PARCEL)
    assert [read(whole[:end]) for end in range(len(whole))] == [None] * len(whole)
    assert read(whole + b"x") is None


def test_every_bit_flipped() -> None:
    """No flipped bit changes a frame; one in the state does not end it."""
    whole = encode(PARCEL)
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        if bit // 8 == STATE_OFFSET:
            assert read(bytes(flipped)) == PARCEL
            assert decode_header(bytes(flipped)).state != DONE
        else:
            assert read(bytes(flipped)) is None


@given(st.binary(max_size=200))
def test_any_bytes_raise_nothing_else(data: bytes) -> None:
    read(data)
    read(encode(PARCEL)[:HEADER_BYTES] + data)
