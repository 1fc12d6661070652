"""ClickHouse's Native format: one block of columns, built from whole arrays.

Owns the bytes of an INSERT. A column is a NumPy array, a `Ragged` (an Array column) or a list of strings;
its ClickHouse type follows from that (`input_format_native_allow_types_conversion`, on by default, takes
UInt32 for DateTime, Int8 for Enum8 and so on). No Python object is made per row, except for strings.

Pure: arrays in, bytes out. Source of the layout: ClickHouse "Native" format, client revision 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]

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


Column = AnyArray | Ragged | Sequence[str]


def encode_block(columns: Mapping[str, Column]) -> bytes:
    """One Native block. Raises ValueError when the columns' lengths differ or a type has no counterpart."""
    rows = {len(c) for c in columns.values()}
    if len(rows) != 1:
        raise ValueError(f"columns of different lengths: { {n: len(c) for n, c in columns.items()} }")
    parts: list[bytes | memoryview] = [_varuint(len(columns)), _varuint(rows.pop())]
    for name, column in columns.items():
        kind, data = _column(name, column)
        parts += [_text(name), _text(kind), *data]
    return b"".join(parts)


def _column(name: str, column: Column) -> tuple[str, list[bytes | memoryview]]:
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
    return "String", [_text(s) for s in column]


def _flat(name: str, array: AnyArray) -> tuple[str, memoryview]:
    kind = _TYPES.get(array.dtype.str)
    if kind is None or array.ndim != 1:
        raise ValueError(f"{name}: no ClickHouse type for {array.dtype} of {array.ndim} dimensions")
    return kind, _bytes(array)


def _bytes(array: AnyArray) -> memoryview:
    return np.ascontiguousarray(array).view(np.uint8).data


def _text(text: str) -> bytes:
    data = text.encode()
    return _varuint(len(data)) + data


def _varuint(n: int) -> bytes:
    """LEB128, seven bits a byte, the lowest first."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)
