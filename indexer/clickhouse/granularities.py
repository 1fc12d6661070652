"""The granularities of rollups, finest first, and how long the rows of each are kept.

A granularity is one record: tables, views, retention settings, the choice of a rollup for a query and the
chunks of cells in memory follow from it. A database that exists already also needs a migration. Pure.
"""

from __future__ import annotations

from typing import Final

import msgspec

_DAY_S: Final = 86_400


class ClusterTerm(msgspec.Struct, frozen=True):
    """A coarser time before `series_id` in the sort key, so that short windows read few granules.

    `max_span_s`: a longer span leaves out too little of a partition for a condition on the term to pay.
    """

    function: str  # of `timestamp`
    seconds: int
    max_span_s: int

    @property
    def sql(self) -> str:
        """The term of the sort key."""
        return f"{self.function}(timestamp)"


class Granularity(msgspec.Struct, frozen=True):
    """The spacing of one rollup's rows, and all that depends on it.

    `partition`: the time that a partition spans, small enough to drop in time, large enough to stay few.
    `chunk_s`: seconds of one chunk of cells in memory: a few hundred buckets, so that a dashboard's range is
    few chunks and a late sample touches little. `sketch_chunk_s`: the same for merged sketches, which a write
    drops instead of changing them. `retention_days`: the default of the setting `days_<name>`.
    """

    name: str
    seconds: int
    partition: str
    cluster: ClusterTerm | None
    chunk_s: int
    sketch_chunk_s: int
    retention_days: int


GRANULARITIES: Final[tuple[Granularity, ...]] = (
    Granularity(
        name="10s",
        seconds=10,
        partition="toDate(timestamp)",
        cluster=ClusterTerm("toStartOfHour", 3_600, max_span_s=12 * 3_600),
        chunk_s=3_600,
        sketch_chunk_s=600,
        retention_days=35,
    ),
    Granularity(
        name="60s",
        seconds=60,
        partition="toMonday(timestamp)",
        cluster=ClusterTerm("toStartOfDay", _DAY_S, max_span_s=4 * _DAY_S),
        chunk_s=6 * 3_600,
        sketch_chunk_s=3_600,
        retention_days=100,
    ),
    Granularity(
        name="1h",
        seconds=3_600,
        partition="toStartOfMonth(timestamp)",
        cluster=None,
        chunk_s=10 * _DAY_S,
        sketch_chunk_s=_DAY_S,
        retention_days=400,
    ),
    Granularity(
        name="1d",
        seconds=_DAY_S,
        partition="toStartOfYear(timestamp)",
        cluster=None,
        chunk_s=256 * _DAY_S,
        sketch_chunk_s=32 * _DAY_S,
        retention_days=1_830,
    ),
)
