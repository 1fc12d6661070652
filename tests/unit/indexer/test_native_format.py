from __future__ import annotations

import numpy as np
import pytest

from indexer.clickhouse.native_format import ColumnData, Ragged, decode_blocks, encode_block


def test_bytes_of_a_block() -> None:
    block = encode_block({"a": np.array([1, 258], "u2"), "s": ["x", "ü"]})
    assert block == b"\x02\x02\x01a\x06UInt16\x01\x00\x02\x01\x01s\x06String\x01x\x02\xc3\xbc"


def test_ragged_is_offsets_then_values() -> None:
    block = encode_block({"r": Ragged(np.array([1, 0, 2]), np.array([7, 8, 9], "u1"))})
    offsets = b"".join(n.to_bytes(8, "little") for n in (1, 1, 3))
    assert block == b"\x01\x03\x01r\x0cArray(UInt8)" + offsets + b"\x07\x08\x09"


def test_no_rows() -> None:
    assert encode_block({"a": np.zeros(0, "f8")}) == b"\x01\x00\x01a\x07Float64"


def test_long_counts_are_leb128() -> None:
    assert encode_block({"a": np.zeros(300, "u1")})[:3] == b"\x01\xac\x02"


def test_strided_columns_are_made_contiguous() -> None:
    assert encode_block({"a": np.arange(6, dtype="u1")[::2]}).endswith(b"\x00\x02\x04")


@pytest.mark.parametrize(
    "columns",
    [
        {"a": np.zeros(1, "u1"), "b": np.zeros(2, "u1")},
        {"a": np.zeros(1, "c16")},
        {"a": np.zeros(1, ">u4")},
        {"a": np.zeros((1, 1), "u1")},
        {"a": Ragged(np.array([2]), np.zeros(1, "u1"))},
        {"a": Ragged(np.zeros(0, "u4"), np.zeros(1, "u1"))},
        {},
    ],
)
def test_what_is_no_block(columns: dict[str, ColumnData]) -> None:
    with pytest.raises(ValueError, match=r"columns|type|lengths"):
        encode_block(columns)


PAIR = [("a", "<u8"), ("b", "<f8")]


def pair(rows: int, first: int = 0) -> bytes:
    return encode_block({"a": np.arange(first, first + rows, dtype="u8"), "b": np.full(rows, 0.5)})


def test_blocks_read_back_as_one() -> None:
    got = decode_blocks(pair(2) + pair(0) + pair(300, 2), PAIR)
    assert got["a"].tolist() == list(range(302))
    assert got["b"].tolist() == [0.5] * 302


def test_no_blocks_are_no_rows() -> None:
    got = decode_blocks(b"", PAIR)
    assert [(n, c.dtype.str, len(c)) for n, c in got.items()] == [("a", "<u8", 0), ("b", "<f8", 0)]


def test_every_cut_of_a_block_is_noticed() -> None:
    whole = pair(3)
    for size in range(1, len(whole)):
        with pytest.raises(ValueError, match=r"ends inside|column|buffer"):
            decode_blocks(whole[:size], PAIR)


@pytest.mark.parametrize("fields", [[("a", "<u8")], [("b", "<f8"), ("a", "<u8")]])
def test_other_columns_are_refused(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="column"):
        decode_blocks(pair(1), fields)
