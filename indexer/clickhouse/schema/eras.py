"""The history of retentions in the database, so that all indexers decide alike.

The retention is part of a row's partition, and a repeated INSERT is recognised by partition and token. So a
frame that is sent again must get the same retention again, from any indexer, whatever the settings are by
then: the one that was valid when it was created. A change becomes valid some minutes after it is noted: until
then every indexer has read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.bookkeeping import RETENTIONS
from indexer.clickhouse.schema.metric_types import KINDS
from indexer.clickhouse.schema.tables import LEGACY_INPUT
from indexer.clickhouse.store import Store

#: A change is valid for frames created this long after it is noted.
NOTICE_MS: Final = 120_000
#: Eras that ended longer ago are not read: a frame of that time is refused or has expired.
_READ_MS: Final = 400 * 86_400_000
#: Eras read at most; the oldest are left out.
_MAX_ERAS: Final = 10_000
_DAY_S: Final = 86_400
_COLUMNS: Final = ", ".join(f"days_{g.name}" for g in GRANULARITIES)


class Era(msgspec.Struct, frozen=True):
    """The retention of frames created from a time on, and the steps that theirs is rounded up to."""

    since_ms: int
    retention: Retention
    steps: tuple[int, ...]


def has_legacy_inputs(store: Store) -> bool:
    """Return whether the database has input tables of before migration 5. Raises StoreError."""
    ((count,),) = store.rows(
        "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
        {"name": f"{LEGACY_INPUT}_{KINDS[0]}"},
    )
    return bool(count)


def read_eras(store: Store) -> list[Era]:
    """Return the eras in ascending order, without those that ended long ago. Raises StoreError."""
    rows = store.rows(
        f"SELECT since_ms, {_COLUMNS}, steps FROM {RETENTIONS} ORDER BY since_ms DESC, noted_at DESC"
        f" LIMIT 1 BY since_ms LIMIT {_MAX_ERAS}"
    )
    eras = [
        Era(int(since), Retention(*map(int, days)), tuple(steps)) for since, *days, steps in reversed(rows)
    ]
    if not eras:
        return []
    oldest_ms = eras[-1].since_ms - _READ_MS
    kept = [era for era, after in pairwise(eras) if after.since_ms > oldest_ms]
    return [*kept, eras[-1]]


def eras_for_reading(store: Store, retention: Retention) -> list[Era]:
    """Return the eras; a single one where the settings have another `retention`. Raises StoreError."""
    eras = read_eras(store)
    if eras and retention in (Retention(), eras[-1].retention):
        return eras
    return [Era(0, retention, ())]


def kept_from(eras: Sequence[Era], now_s: int) -> tuple[tuple[int, int], ...]:
    """Return granularities in seconds, each with the time from which all its rows are still kept.

    Rows have the retention of their era: those of before a longer one go as soon as ever.
    """
    ends_s = [*(era.since_ms // 1000 for era in eras[1:]), now_s]
    return tuple(
        (g.seconds, max(min(end_s, now_s - days * _DAY_S) for days, end_s in zip(kept, ends_s, strict=True)))
        for g in GRANULARITIES
        for kept in [[era.retention.days(g.name) for era in eras]]
    )


def note_retention(store: Store, retention: Retention, steps: Sequence[int]) -> None:
    """Note the present retention if it differs from the last one noted. Raises StoreError."""
    eras = read_eras(store)
    if eras and (eras[-1].retention, eras[-1].steps) == (retention, tuple(steps)):
        return
    notice = f"toUnixTimestamp64Milli(now64(3)) + {NOTICE_MS}"
    since = notice if eras or has_legacy_inputs(store) else "0"
    days = ", ".join(str(retention.days(g.name)) for g in GRANULARITIES)
    listed = ", ".join(str(int(step)) for step in steps)
    store.command(
        f"INSERT INTO {RETENTIONS} (since_ms, {_COLUMNS}, steps, noted_at)"
        f" SELECT toUInt64({since}), {days}, CAST([{listed}], 'Array(UInt16)'), now64(3, 'UTC')"
    )
