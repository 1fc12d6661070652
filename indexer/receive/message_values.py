"""The values of messages that are JSON objects: an aggregated gauge, and encoded arrays.

Sentry's topic carries arrays of sets and distributions as `{"format": "array", "data": [...]}`, or packed as
`{"format": "base64", "data": "..."}`: little-endian 32-bit integers of sets, 64-bit floats of
distributions. Pure.
"""

from __future__ import annotations

import binascii
from typing import Final

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

_DTYPES: Final = {"s": "<u4", "d": "<f8"}
_FORMATS: Final = "array or base64"


class BadMessageError(ValueError):
    """A message that is unacceptable."""


class GaugeValue(msgspec.Struct, frozen=True):
    """A gauge aggregated by the sender."""

    last: float
    min: float
    max: float
    sum: float
    count: float


class ValueObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value as its sender wrote it: the fields of a gauge, or of an encoded array."""

    last: float | UnsetType = UNSET
    min: float | UnsetType = UNSET
    max: float | UnsetType = UNSET
    sum: float | UnsetType = UNSET
    count: float | UnsetType = UNSET
    format: str | UnsetType = UNSET
    data: str | list[int | float | str] | UnsetType = UNSET


def unpacked(value: ValueObject, kind: str) -> GaugeValue | list[int | float | str]:
    """Return the gauge or the elements of the array. Raises BadMessageError."""
    if value.format is UNSET:
        try:
            return msgspec.convert(value, GaugeValue, from_attributes=True)
        except msgspec.ValidationError:
            names = [name for name in GaugeValue.__struct_fields__ if getattr(value, name) is UNSET]
            raise BadMessageError(f"value: {', '.join(names)} missing: expected all of a gauge") from None
    if kind not in _DTYPES:
        raise BadMessageError(f"value.format: type {kind}: expected type s or d with a format")
    if value.format == "array" and isinstance(value.data, list):
        return value.data
    if value.format == "base64" and isinstance(value.data, str):
        return _from_base64(value.data, _DTYPES[kind])
    if value.format in ("array", "base64"):
        wanted = "an array" if value.format == "array" else "a text"
        raise BadMessageError(f"value.data: expected {wanted} with the format {value.format}")
    raise BadMessageError(f"value.format: {value.format!r:.30}: expected {_FORMATS}")


def _from_base64(text: str, dtype: str) -> list[int | float | str]:
    stripped = text.rstrip("=")  # senders write it with padding and without
    try:
        data = binascii.a2b_base64(stripped + "=" * (-len(stripped) % 4), strict_mode=True)
    except ValueError:
        raise BadMessageError("value.data: not base64: expected base64 of the standard alphabet") from None
    size = np.dtype(dtype).itemsize
    if len(data) % size:
        raise BadMessageError(f"value.data: {len(data)} bytes: expected a multiple of {size}")
    numbers: list[int | float | str] = np.frombuffer(data, dtype).tolist()
    return numbers
