"""Metric metadata from a mapping file, and the message that carries it to the indexer.

Owns the body of `POST /v1/metadata` (docs/wire-format.md) and its bounds. The writer of the bytes owns their
definition; the indexer imports it. The message is small JSON, and idempotent.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final

import msgspec

PATH: Final = "/v1/metadata"
#: Metrics of one message.
MAX_METRICS: Final = 1_000
MAX_NAME: Final = 4_096  # characters
MAX_HELP: Final = 1_000
MAX_UNIT: Final = 64
MAX_BUCKETS: Final = 200
CONTENT_TYPE: Final = "application/json"

_SECONDS: Final = re.compile(r"(?:^|[^a-zA-Z0-9])seconds$")

_Id = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF_FFFF)]
_Org = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF_FFFE)]  # the one after it is of meterhouse doctor


class MetadataError(ValueError):
    """Bytes that are not a metadata message, or exceed the bounds; the text names the place."""


class MetricDescription(msgspec.Struct, frozen=True, omit_defaults=True):
    """Help, unit and bucket boundaries of a metric; empty ones are unknown."""

    help: Annotated[str, msgspec.Meta(max_length=MAX_HELP)] = ""
    unit: Annotated[str, msgspec.Meta(max_length=MAX_UNIT)] = ""
    #: Upper bounds of classic buckets, ascending and finite: +Inf is implied.
    buckets: Annotated[tuple[float, ...], msgspec.Meta(max_length=MAX_BUCKETS)] = ()

    def filled(self, other: MetricDescription) -> MetricDescription:
        """Return this description, with empty parts taken from `other`."""
        return MetricDescription(
            self.help or other.help, self.unit or other.unit, self.buckets or other.buckets
        )


class MetricMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One metric of a message, under its name in frames."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
    help: Annotated[str, msgspec.Meta(max_length=MAX_HELP)] = ""
    unit: Annotated[str, msgspec.Meta(max_length=MAX_UNIT)] = ""
    buckets: Annotated[tuple[float, ...], msgspec.Meta(max_length=MAX_BUCKETS)] = ()


class MetadataMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/metadata`."""

    org_id: _Org
    project_id: _Id
    metrics: Annotated[tuple[MetricMetadata, ...], msgspec.Meta(max_length=MAX_METRICS)]


def encode(org_id: int, project_id: int, metrics: Mapping[str, MetricDescription]) -> bytes:
    """Encode the message for at most MAX_METRICS metrics."""
    rows = tuple(MetricMetadata(name, one.help, one.unit, one.buckets) for name, one in metrics.items())
    return msgspec.json.encode(MetadataMessage(org_id, project_id, rows))


def decode(data: bytes) -> MetadataMessage:
    """Decode a message. Raises MetadataError."""
    try:
        message = msgspec.json.decode(data, type=MetadataMessage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:  # ValidationError is a DecodeError
        raise MetadataError(str(e)) from None
    for number, metric in enumerate(message.metrics):
        if wrong := ladder_problem(metric.buckets):
            raise MetadataError(f"{wrong} - at `$.metrics[{number}].buckets`")
    return message


def in_seconds(name: str) -> bool:
    """Return whether a name says that its values are seconds."""
    return _SECONDS.search(name) is not None


def ladder_problem(buckets: tuple[float, ...]) -> str:
    """Return why no histogram can have these boundaries; empty if one can."""
    if len(buckets) > MAX_BUCKETS:
        return f"too many boundaries: at most {MAX_BUCKETS} are accepted"
    if not all(abs(bound) <= 1e300 for bound in buckets):
        return "a boundary is not finite"
    if any(b <= a for a, b in pairwise(buckets)):
        return "boundaries do not ascend"
    return ""
