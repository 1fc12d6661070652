"""The request to delete, as the shim sends it to an indexer, and its result. Pure.

The shim finds the series of matchers; the indexer gets ids. A metric without ids is deleted whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import numpy as np

from indexer.access.grants import MAX_ID, MAX_ORG_ID
from indexer.clickhouse.schema.metric_types import Kind
from indexer.intern.series import U64s

#: The last second that a row may have; as an end: no end.
MAX_S: Final = 2**32 - 1
#: The maximum of series ids in a request.
MAX_SERIES: Final = 1_000_000
_ID_BYTES: Final = 8

_Org = Annotated[int, msgspec.Meta(ge=1, le=MAX_ORG_ID)]
_Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=MAX_S)]


class DeletionError(ValueError):
    """A request that cannot be understood, or whose times hold no whole bucket."""


class DeletionBusyError(Exception):
    """Not now; the same request may succeed later."""


class TooManyDeletionsError(DeletionBusyError):
    """The org has another deletion, or too many run."""


class MetricSeries(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Series of one metric, type and project. `series`: their ids as little-endian UInt64; empty: all."""

    project_id: _Id
    kind: Kind
    metric_id: Annotated[int, msgspec.Meta(ge=0)]
    series: bytes = b""

    @property
    def ids(self) -> U64s:
        """The ids of its series; empty for all of them."""
        return np.frombuffer(self.series, "<u8")


class DeletionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Series of an org, and the time `[start_s, end_s)` in which their samples are deleted.

    `dry_run`: count only.
    """

    org_id: _Org
    metrics: list[MetricSeries]
    start_s: _Time = 0
    end_s: _Time = MAX_S
    dry_run: bool = False


class DeletionResult(msgspec.Struct, frozen=True):
    """The number of series and of stored rows (of all granularities), and the time that was deleted."""

    series: int
    rows: int
    start_s: int
    end_s: int


def decode_deletion(body: bytes) -> DeletionRequest:
    """Decode a request. Raises DeletionError."""
    try:
        asked = msgspec.json.decode(body, type=DeletionRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise DeletionError(f"the deletion cannot be read: {e}") from None
    check_deletion(asked)
    return asked


def check_deletion(asked: DeletionRequest) -> None:
    """Raise DeletionError for a request that is out of bounds."""
    if asked.end_s < asked.start_s:
        raise DeletionError(f"end_s = {asked.end_s}: expected {asked.start_s} (start_s) or more")
    if any(len(one.series) % _ID_BYTES for one in asked.metrics):
        raise DeletionError(f"series: expected {_ID_BYTES} bytes an id")
    if (count := entries(asked.metrics)) > MAX_SERIES:
        raise DeletionError(f"{count:,} series and metrics: expected at most {MAX_SERIES:,} in a request")


def entries(metrics: Sequence[MetricSeries]) -> int:
    """Return the number of ids that name these series: one for a whole metric."""
    return sum(max(1, len(one.series) // _ID_BYTES) for one in metrics)
