"""ClickHouse's Native format: one block of columns, built from whole arrays, and blocks read back.

Owns the bytes of an INSERT, and of answers that are large. To write, a column is a NumPy array, a `Ragged`
(an Array column) or a list of strings; its ClickHouse type follows from that
(`input_format_native_allow_types_conversion`, on by default, takes UInt32 for DateTime, Int8 for Enum8 and so
on). No Python object is made per row, except for strings.

Pure. Source of the layout: ClickHouse "Native" format, client revision 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]

#: Lengths of less than 128, as they are written.
_SHORT: Final = tuple(bytes((n,)) for n in range(0x80))

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


@dataclass(frozen=True, slots=True)
class Ragged:
    """An Array column: row `i` holds `lengths[i]` of `values`, the rows one after the other."""

    lengths: AnyArray
    values: AnyArray

    def __len__(self) -> int:
        return len(self.lengths)


ColumnData = AnyArray | Ragged | Sequence[str]
#: Columns of one length by their names.
Block = dict[str, ColumnData]


def encode_block(columns: Mapping[str, ColumnData]) -> bytes:
    """One Native block. Raises ValueError when the columns' lengths differ or a type has no counterpart."""
    rows = {len(c) for c in columns.values()}
    if len(rows) != 1:
        raise ValueError(f"columns of different lengths: { {n: len(c) for n, c in columns.items()} }")
    parts: list[bytes | memoryview] = [_varuint(len(columns)), _varuint(rows.pop())]
    for name, column in columns.items():
        kind, data = _column(name, column)
        parts += [_text(name), _text(kind), *data]
    return b"".join(parts)


def type_name(name: str, column: ColumnData) -> str:
    """The ClickHouse type that a column is written as. Raises ValueError when its type has no counterpart."""
    if isinstance(column, Ragged):
        return f"Array({_number_type(name, column.values)})"
    return _number_type(name, column) if isinstance(column, np.ndarray) else "String"


def decode_blocks(data: bytes, dtype: npt.DTypeLike) -> dict[str, AnyArray]:
    """The columns of an answer, of all its blocks, by the names and types of the fields of `dtype`.

    Columns are numbers alone, and `dtype` says how wide: their names are compared, of what type they are
    said to be is not. Raises ValueError when the bytes are something else.
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
    """A text and where it ends."""
    size, at = _read_varuint(data, at)
    return data[at : at + size], at + size


def _read_varuint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends. Raises IndexError when the data ends before."""
    out = shift = 0
    while True:
        byte = data[at]
        at += 1
        out |= (byte & 0x7F) << shift
        if byte < 0x80:
            return out, at
        shift += 7


def _column(name: str, column: ColumnData) -> tuple[str, list[bytes | memoryview]]:
    """The type's name, and the column's bytes in pieces."""
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
    return "String", [_texts(column)]


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
    """As `_text` one after the other: for many that are mostly short."""
    parts: list[bytes] = [b""] * (2 * len(texts))
    parts[1::2] = data = [text.encode() for text in texts]
    parts[0::2] = [_SHORT[size] if (size := len(d)) < 0x80 else _varuint(size) for d in data]
    return b"".join(parts)


def _varuint(n: int) -> bytes:
    """LEB128, seven bits a byte, the lowest first."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)
