"""Encodes and decodes ClickHouse's Native format: blocks of whole columns.

Owns the bytes of an INSERT, and of large answers. To write, a column is a NumPy array, a `Ragged` (an Array
column) or a list of strings; its ClickHouse type follows from that. ClickHouse converts UInt32 to DateTime,
Int8 to Enum8 and so on (`input_format_native_allow_types_conversion`, on by default). No Python object is
made per row, except for strings.

Pure. Source of the layout: ClickHouse "Native" format, client revision 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]

#: Encoded lengths below 128.
_SHORT: Final = tuple(bytes((n,)) for n in range(0x80))
#: Texts joined by one call, which keeps the interpreter from all other threads.
_JOINED: Final = 10_000

_TYPES: Final[Mapping[str, str]] = {
    "|u1": "UInt8",
    "<u2": "UInt16",
    "<u4": "UInt32",
    "<u8": "UInt64",
    "|i1": "Int8",
    "<i2": "Int16",
    "<i4": "Int32",
    "<i8": "Int64",
    "<f4": "Float32",
    "<f8": "Float64",
}


class Ragged(msgspec.Struct, frozen=True):
    """An Array column: row `i` holds `lengths[i]` of `values`, row after row."""

    lengths: AnyArray
    values: AnyArray

    def __len__(self) -> int:
        return len(self.lengths)


ColumnData = AnyArray | Ragged | Sequence[str]
#: Columns of one length by their names.
Block = dict[str, ColumnData]


def encode_block(columns: Mapping[str, ColumnData]) -> bytes:
    """Encode one block. Raises ValueError if the columns' lengths differ or a type has no counterpart."""
    rows = {len(c) for c in columns.values()}
    if len(rows) != 1:
        raise ValueError(f"columns of different lengths: { {n: len(c) for n, c in columns.items()} }")
    parts: list[bytes | memoryview] = [_varuint(len(columns)), _varuint(rows.pop())]
    for name, column in columns.items():
        kind, data = _column(name, column)
        parts += [_text(name), _text(kind), *data]
    return b"".join(parts)


def type_name(name: str, column: ColumnData) -> str:
    """Return the ClickHouse type of an encoded column. Raises ValueError if it has no counterpart."""
    if isinstance(column, Ragged):
        return f"Array({_number_type(name, column.values)})"
    return _number_type(name, column) if isinstance(column, np.ndarray) else "String"


def decode_blocks(data: bytes, dtype: npt.DTypeLike) -> dict[str, AnyArray]:
    """Decode the columns of all blocks of an answer, by the fields of `dtype`.

    All columns are numbers, of the width that `dtype` gives: their names are compared, the types that the
    block states are not. Raises ValueError if the bytes are not such blocks.
    """
    fields = np.dtype(dtype)
    names = fields.names or ()
    pieces: dict[str, list[AnyArray]] = {name: [] for name in names}
    at = 0
    try:
        while at < len(data):
            count, at = _read_varuint(data, at)
            rows, at = _read_varuint(data, at)
            if count != len(names):
                raise ValueError(f"{count} columns, not {len(names)}")
            for name in names:
                found, at = _read_text(data, at)
                if found != name.encode():
                    raise ValueError(f"column {found!r}, not {name!r}")
                _, at = _read_text(data, at)
                pieces[name].append(np.frombuffer(data, fields[name], rows, at))
                at += rows * fields[name].itemsize
    except IndexError:
        raise ValueError("the data ends inside a block") from None
    return {name: np.concatenate(p) if p else np.zeros(0, fields[name]) for name, p in pieces.items()}


def _read_text(data: bytes, at: int) -> tuple[bytes, int]:
    """Return a text and the position after it."""
    size, at = _read_varuint(data, at)
    return data[at : at + size], at + size


def _read_varuint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and the position after it. Raises IndexError if the data ends before."""
    out = shift = 0
    while True:
        byte = data[at]
        at += 1
        out |= (byte & 0x7F) << shift
        if byte < 0x80:
            return out, at
        shift += 7


def _column(name: str, column: ColumnData) -> tuple[str, list[bytes | memoryview]]:
    """Return the type's name, and the column's bytes in pieces."""
    if isinstance(column, Ragged):
        offsets = np.cumsum(column.lengths, dtype=np.uint64)
        if (offsets[-1] if len(offsets) else 0) != len(column.values):
            raise ValueError(
                f"{name}: lengths add up to {offsets[-1:]}, there are {len(column.values)} values"
            )
        kind, data = _flat(name, column.values)
        return f"Array({kind})", [_bytes(offsets), data]
    if isinstance(column, np.ndarray):
        kind, data = _flat(name, column)
        return kind, [data]
    return "String", [_texts(column[at : at + _JOINED]) for at in range(0, len(column), _JOINED)]


def _flat(name: str, array: AnyArray) -> tuple[str, memoryview]:
    return _number_type(name, array), _bytes(array)


def _number_type(name: str, array: AnyArray) -> str:
    kind = _TYPES.get(array.dtype.str)
    if kind is None or array.ndim != 1:
        raise ValueError(f"{name}: no ClickHouse type for {array.dtype} of {array.ndim} dimensions")
    return kind


def _bytes(array: AnyArray) -> memoryview:
    return np.ascontiguousarray(array).view(np.uint8).data


def _text(text: str) -> bytes:
    data = text.encode()
    return _varuint(len(data)) + data


def _texts(texts: Sequence[str]) -> bytes:
    """Encode many short texts, each as `_text` does."""
    parts: list[bytes] = [b""] * (2 * len(texts))
    parts[1::2] = data = [text.encode() for text in texts]
    parts[0::2] = [_SHORT[size] if (size := len(d)) < 0x80 else _varuint(size) for d in data]
    return b"".join(parts)


def varuint_bytes(n: int) -> int:
    """Return the length of a number that ClickHouse's formats write before a string or an array."""
    return max(1, -(-n.bit_length() // 7))


def _varuint(n: int) -> bytes:
    """Encode a number as LEB128: seven bits per byte, the lowest first."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)
