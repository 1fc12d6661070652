"""Takes frames out of a batch of the journal whose own bytes ClickHouse refuses. Sync: runs in threads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.schema.metric_types import Kind
from indexer.clickhouse.store import StoreError
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.inserter import Inserter, remaining_kinds
from indexer.write.journal import Journal, JournalError

log = logging.getLogger(__name__)


def end_refused(
    inserter: Inserter,
    journal: Journal,
    token: str,
    units: Sequence[AcceptedFrame],
    error: StoreError,
    now_ms: int,
) -> list[AcceptedFrame]:
    """Keep the refused frames as batches of their own; return them, none if their bytes are not to blame."""
    if error.fault is not Fault.BYTES or not error.kind:
        return []
    kind = cast("Kind", error.kind)
    try:
        ended = [remaining_kinds(unit, kind) for unit in inserter.refused(units, kind)]
        journal.end(token, ended, now_ms, error.told)
    except (StoreError, JournalError) as e:
        log.warning("event=frames_not_ended token=%s error=%s", token, e)
        return []
    if ended:
        log.error("event=frames_ended token=%s frames=%d error=%s", token, len(ended), error)
    return ended
