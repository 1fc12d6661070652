"""The values of messages that are JSON objects: an aggregated gauge, and encoded arrays.

Sentry's topic carries arrays of sets and distributions as `{"format": "array", "data": [...]}`, or packed as
`{"format": "base64", "data": "..."}`: little-endian 32-bit integers of sets, 64-bit floats of
distributions. A distribution may also be its exponential buckets, `{"format": "buckets", ...}`. Pure.
"""

from __future__ import annotations

import binascii
import sys
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite, ldexp
from typing import Final

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from agent.aggregate.exponential_buckets import MAX_INDEX, MIN_INDEX, PER_OCTAVE

_DTYPES: Final = {"s": "<u4", "d": "<f8"}
_FORMATS: Final = "array, base64 or buckets"

#: An index and a count.
Bucket = tuple[int, float]


class BadMessageError(ValueError):
    """A message that is unacceptable."""


class GaugeValue(msgspec.Struct, frozen=True):
    """A gauge aggregated by the sender."""

    last: float
    min: float
    max: float
    sum: float
    count: float


class SketchValue(msgspec.Struct, frozen=True):
    """A distribution as exponential buckets (agent/aggregate/exponential_buckets.py), indexes ascending."""

    sum: float
    sum_squares: float
    min: float
    max: float
    zero: float
    positive: Sequence[Bucket]
    negative: Sequence[Bucket]

    @property
    def count(self) -> float:
        """The observations, each with its weight."""
        return self.zero + sum(count for side in (self.positive, self.negative) for _, count in side)


class ValueObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value as its sender wrote it: the fields of a gauge, of an encoded array, or of buckets."""

    last: float | UnsetType = UNSET
    min: float | UnsetType = UNSET
    max: float | UnsetType = UNSET
    sum: float | UnsetType = UNSET
    count: float | UnsetType = UNSET
    format: str | UnsetType = UNSET
    data: str | list[int | float | str] | UnsetType = UNSET
    sum_squares: float | UnsetType = UNSET
    zero: float = 0.0
    positive: list[Bucket] = []
    negative: list[Bucket] = []

    @property
    def has_buckets(self) -> bool:
        """Whether there is a field of buckets alone."""
        return bool(self.sum_squares is not UNSET or self.zero or self.positive or self.negative)


def unpacked(value: ValueObject, kind: str) -> GaugeValue | SketchValue | list[int | float | str]:
    """Return the gauge, the buckets or the elements of the array. Raises BadMessageError."""
    if value.format == "buckets" and kind == "d":
        return _sketch(value)
    if value.has_buckets:
        raise BadMessageError("value: buckets: expected type d and the format buckets")
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


def _sketch(value: ValueObject) -> SketchValue:
    """Return buckets with all moments; those left out are made of the buckets, within their error."""
    if isinstance(value.sum, UnsetType):
        raise BadMessageError("value.sum: missing: expected the sum of the observations")
    for side, buckets in (("positive", value.positive), ("negative", value.negative)):
        _check_buckets(side, buckets)
    middles = [(-_middle(i), count) for i, count in reversed(value.negative)]
    middles += [(0.0, value.zero)] * (value.zero > 0)
    middles += [(_middle(i), count) for i, count in value.positive]
    if not middles or value.zero < 0:
        raise BadMessageError("value: expected positive, negative or zero with counts above 0")
    squares = min(sys.float_info.max, sum(count * middle * middle for middle, count in middles))
    made = SketchValue(
        value.sum,
        squares if isinstance(value.sum_squares, UnsetType) else value.sum_squares,
        middles[0][0] if isinstance(value.min, UnsetType) else value.min,
        middles[-1][0] if isinstance(value.max, UnsetType) else value.max,
        value.zero,
        value.positive,
        value.negative,
    )
    moments = (made.sum, made.sum_squares, made.min, made.max, made.count)
    if not all(map(isfinite, moments)):
        raise BadMessageError("value: not a finite number")
    return made


def _check_buckets(side: str, buckets: Sequence[Bucket]) -> None:
    indexes = [index for index, _ in buckets]
    if any(not MIN_INDEX <= index <= MAX_INDEX for index in indexes):
        raise BadMessageError(f"value.{side}: expected indexes of {MIN_INDEX} to {MAX_INDEX}")
    if any(a >= b for a, b in pairwise(indexes)):
        raise BadMessageError(f"value.{side}: expected ascending indexes")
    if any(not count > 0 for _, count in buckets):
        raise BadMessageError(f"value.{side}: expected counts above 0")


def _middle(index: int) -> float:
    """Return the middle of a bucket, on the logarithmic scale."""
    octave, place = divmod(index, PER_OCTAVE)
    return ldexp(2.0 ** ((place - 0.5) / PER_OCTAVE), octave)
