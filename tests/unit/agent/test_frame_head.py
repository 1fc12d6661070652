"""The org of a frame, read from its first bytes."""

from __future__ import annotations

import tracemalloc

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.frame import Frame, SeriesColumns, Sets, encode, org_of


def frame(**fields: object) -> bytes:
    return encode(Frame(epoch=1, sequence=2, created_ms=3, **{"agent": "a", **fields}))  # type: ignore[arg-type]


@pytest.mark.parametrize("org_id", [1, 127, 128, 65_536, 2**32 - 1])
@pytest.mark.parametrize("agent", ["", "a", "a" * 300, "é" * 128])
def test_the_org_is_read(org_id: int, agent: str) -> None:
    assert org_of(frame(org_id=org_id, agent=agent)) == org_id


def test_the_rest_is_not_unpacked() -> None:
    members = 4_000_000
    sets = Sets(
        series=bytes(4), bucket=bytes(4), length=members.to_bytes(4, "little"), member=bytes(8 * members)
    )
    body = frame(org_id=7, strings=["s"], series=SeriesColumns(name=bytes(4), tag_count=bytes(2)), sets=sets)
    tracemalloc.start()
    try:
        assert org_of(body) == 7
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x90",
        b"\x96\x01\xa1a\x01\x02\x03",  # cut off before the org
        b"\x96\x01\xa1a\x01\x02\x03\xa3org",
        b"\x96\x01\xa1a\x01\x02\x03\xcf\x01",
        b"\x96\x01\x91\x01\x01\x02\x03\x04",
    ],
)
def test_what_names_no_org_is_0(raw: bytes) -> None:
    assert org_of(zstd.compress(raw)) == 0


def test_a_name_that_fills_the_head_is_0() -> None:
    assert org_of(frame(agent="a" * 5_000)) == 0


@given(st.binary(max_size=200))
def test_any_bytes_give_a_number(data: bytes) -> None:
    assert isinstance(org_of(data), int)
    assert isinstance(org_of(zstd.compress(data)), int)
