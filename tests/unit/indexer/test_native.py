from __future__ import annotations

import numpy as np
import pytest

from indexer.native import Column, Ragged, encode_block


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
def test_what_is_no_block(columns: dict[str, Column]) -> None:
    with pytest.raises(ValueError, match=r"columns|type|lengths"):
        encode_block(columns)
