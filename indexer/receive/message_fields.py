"""The fields of one message, and the bounds of each.

Owns the errors of bad messages. `metric_id` an integer is an id, as text (or `name`) a name; a tag's key of
digits alone and an integer value are ids. Values that are JSON objects: indexer/receive/message_values.py.
Pure.
"""

from __future__ import annotations

import sys
from math import isfinite
from typing import Any, Final, Literal

import msgspec

from agent.protocol.line import Limits
from agent.wire.frame import BUCKET_SECONDS, ENDED
from indexer.access.grants import ID_EXPECTED, MAX_ID, MAX_ORG_ID
from indexer.intern.use_case import USE_CASE_TAG
from indexer.receive.message_values import BadMessageError, GaugeValue, SketchValue, ValueObject, unpacked
from indexer.write.frame_to_columns import DAY_S

_MAX_STRING_ID: Final = (1 << 64) - 1
_LINES: Final = Limits()
_LARGEST: Final = sys.float_info.max
#: The value of a gauge that ends, and its state: neutral in every column.
STALE: Final = "stale"
_ENDED: Final = GaugeValue(ENDED, _LARGEST, -_LARGEST, 0.0, 0.0)
#: Bytes of a character in UTF-8, at most.
_MAX_UTF8: Final = 4


class Message(msgspec.Struct, frozen=True):
    """A message as its sender wrote it."""

    org_id: int
    project_id: int
    type: Literal["c", "d", "s", "g"]
    timestamp: int | float
    value: int | float | str | list[int | float | str] | ValueObject
    metric_id: int | str | None = None
    name: str | None = None
    tags: dict[str, int | str] = {}
    retention_days: int = 0
    use_case_id: str | None = None


class ExpiredError(BadMessageError):
    """A message that is older than its retention."""


def checked_bucket(message: Message, latest_s: int) -> int:
    """Return the bucket of a message whose fields except its value are good. Raises BadMessageError."""
    _check_texts(message)
    ids = (("org_id", message.org_id, MAX_ORG_ID), ("project_id", message.project_id, MAX_ID))
    for what, tenant, last in ids:
        if not 1 <= tenant <= last:
            raise BadMessageError(f"{what}: {tenant}: {ID_EXPECTED}")
    _check_range("retention_days", message.retention_days, 0, 65_535)
    if not 0 <= message.timestamp < 1 << 32:  # nor is NaN; an integer may be beyond floats
        raise BadMessageError(f"timestamp: {message.timestamp!s:.30}: expected Unix seconds")
    bucket = int(message.timestamp) // BUCKET_SECONDS * BUCKET_SECONDS
    if bucket > latest_s:
        raise BadMessageError(f"timestamp: {message.timestamp} is in the future")
    if (message.metric_id is None) == (message.name is None):
        raise BadMessageError("metric_id, name: expected one of the two")
    _check_ids(message)
    return bucket


def _check_ids(message: Message) -> None:
    if isinstance(message.metric_id, int):
        _check_range("metric_id", message.metric_id, 1, _MAX_STRING_ID)
    for tag_key, given in message.tags.items():
        if isinstance(given, int):
            _check_range(f"tags.{tag_key}", given, 1, _MAX_STRING_ID)
    for tag_key in message.tags:
        if is_id(tag_key):
            _check_range(f"tags.{tag_key}", int(tag_key), 1, _MAX_STRING_ID)


def check_age(message: Message, bucket: int, first_day: int) -> None:
    """Refuse a bucket before `first_day`, a day since 1970. Raises ExpiredError."""
    if bucket < first_day * DAY_S:
        raise ExpiredError(f"timestamp: {message.timestamp} is older than its retention")


def _check_texts(message: Message) -> None:
    """Refuse texts larger than an agent's line may be (agent.lines.*, at their defaults)."""
    name = message.metric_id if isinstance(message.metric_id, str) else message.name or ""
    _check_size("name", name, _LINES.max_name_bytes)
    if len(message.tags) > _LINES.max_tags:
        raise BadMessageError(f"tags: {len(message.tags)} tags: expected at most {_LINES.max_tags}")
    _check_size("use_case_id", message.use_case_id or "", _LINES.max_tag_bytes)
    if USE_CASE_TAG in message.tags:
        raise BadMessageError("tags: a key of the field use_case_id: expected the field")
    for key, value in message.tags.items():
        _check_size("a key of tags", key, _LINES.max_tag_bytes)
        if isinstance(value, str) and len(value) * _MAX_UTF8 > _LINES.max_tag_bytes:
            _check_size(f"tags.{key}", value, _LINES.max_tag_bytes)


def _check_size(where: str, text: str, max_bytes: int) -> None:
    if len(text) * _MAX_UTF8 <= max_bytes:
        return
    size = len(text.encode(errors="surrogatepass"))
    if size > max_bytes:
        raise BadMessageError(f"{where}: {size} bytes: expected at most {max_bytes}")


def _check_range(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BadMessageError(f"{what}: {value}: expected {low} to {high}")


def is_id(text: str) -> bool:
    """Return whether the key of a tag is an id: digits alone."""
    return text.isascii() and text.isdigit()


def checked_value(message: Message) -> list[float] | list[str] | GaugeValue | SketchValue:
    """Return numbers of a counter (one) or distribution, its buckets, members of a set, a gauge's state.

    Raises BadMessageError.
    """
    value: object = message.value
    if isinstance(value, ValueObject):
        value = unpacked(value, message.type)
    if isinstance(value, SketchValue):
        return value
    match message.type:
        case "c":
            return [_number(value)]
        case "d":
            return [_number(v) for v in _non_empty(value)]
        case "s":
            return [str(v) for v in _non_empty(value)]
        case "g":
            if isinstance(value, GaugeValue):
                for part in msgspec.structs.astuple(value):
                    _number(part)
                return value
            if value == STALE:
                return _ENDED
            last = _number(value)
            return GaugeValue(last, last, last, last, 1.0)


def _non_empty(value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values or isinstance(value, GaugeValue):
        raise BadMessageError("value: expected an array of at least one")
    return values


def _number(value: object) -> float:
    if isinstance(value, int | float):
        try:
            if isfinite(number := float(value)):
                return number
        except OverflowError:
            pass
    raise BadMessageError("value: not a finite number")
