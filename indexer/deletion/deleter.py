"""Deletes samples from all rollups, and their series from the catalog, exactly.

The steps, of which each can be repeated:

1. While no INSERT of the org runs, deletions begin on every rollup, so all lose the same rows. Rows of
   coarser rollups that lie in the range in part are deleted too, and derived again from the finest.
2. INSERTs continue. Readers in this process hear that the rows change, and forget cells when it has ended.
3. When all rows are gone, INSERTs of the org are held back once more. Series without samples on a day lose
   their row of it, then tags and strings that no series uses. All caches are emptied before and after, also
   if this fails, and those of other indexers: none may claim deleted rows.

A process that dies in between leaves deletions that ClickHouse finishes; the same request does the rest.
Once rows of `series` are gone it finds no series: a note has any deletion of the org do the rest of step 3.
A deletion is refused while a batch of its org may be stored in part. Step 3 waits for batches with frames of
other orgs, too, since these could not be tried again while it holds the org's INSERTs back.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.native_format import Block
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.eras import Era, kept_from, read_eras
from indexer.clickhouse.schema.metric_types import Kind
from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store import Store
from indexer.deletion import deletion_statements as statements
from indexer.deletion.deletion_range import DeletionRange, Rederived, deletion_range
from indexer.deletion.deletion_request import (
    DeletionBusyError,
    DeletionRequest,
    DeletionResult,
    MetricSeries,
    check_deletion,
    entries,
)
from indexer.deletion.deletion_statements import MAX_LISTED, DeletedRows
from indexer.deletion.ids_tables import IdsTables
from indexer.deletion.mutations import Mutations
from indexer.deletion.running_deletions import RunningDeletion, RunningDeletions, Step
from indexer.deletion.unfinished_deletions import UnfinishedDeletions
from indexer.deletion.unsettled_batches import UnsettledBatch, unsettled_text
from indexer.write.insert_feed import InsertFeed
from indexer.write.journal import JournalError
from indexer.write.write_gate import WriteGate

log = logging.getLogger(__name__)

#: How long INSERTs that run may keep a deletion waiting.
_QUIET_S: Final = 60.0
#: Looks for batches with frames of other orgs in this time.
_LOOKS: Final = 60
#: How long INSERTs of the org may be held back by one statement on the catalog.
_CATALOG_S: Final = 60.0
#: Rows of a catalog table compared in one statement.
_TURN_ROWS: Final = 2_000_000


class UnsettledOf(Protocol):
    """See `unsettled_batches`."""

    def __call__(self, org_id: int, *, shared: bool = False) -> Sequence[UnsettledBatch]:
        """Return the batches that may be an org's, and may be stored in part. Raises JournalError."""


@dataclass(frozen=True, slots=True)
class DeletionParts:
    """The parts of the indexer that a deletion needs.

    `alone`: no other indexer writes to the store. `renew` empties every cache of strings and series, of all
    indexers. `insert_feed`: readers in this process listen there. `unsettled`: without a journal None.
    """

    gate: WriteGate
    insert_feed: InsertFeed | None
    renew: Callable[[], None]
    alone: bool
    now_s: Callable[[], float] = time.time
    unsettled: UnsettledOf | None = None
    sleep: Callable[[float], None] = time.sleep


class Deleter:
    """See the module. An org has one deletion at once, and one of all is in the catalog. Blocks."""

    def __init__(self, store: Store, retention: Retention, parts: DeletionParts) -> None:
        self._store = store
        self._retention = retention
        self._parts = parts
        self._unfinished = UnfinishedDeletions(store)
        self._ids = IdsTables(store)
        self._running = RunningDeletions()
        self._catalog = threading.Lock()  # the INSERTs of an org wait for its step there: for no other one

    def running(self) -> list[RunningDeletion]:
        """Return the deletions that run, the oldest first."""
        return self._running.listing()

    def delete(self, asked: DeletionRequest) -> DeletionResult:
        """Delete, or only count for a `dry_run`.

        Raises DeletionError, DeletionBusyError, StoreError; TooManyDeletionsError while the org has another.
        """
        check_deletion(asked)
        eras = read_eras(self._store) or [Era(0, self._retention, ())]
        kept = dict(kept_from(eras, int(self._parts.now_s())))
        alone = self._parts.alone and self._store.cluster is None
        span = deletion_range(asked.start_s, asked.end_s, kept, alone=alone)
        self._ids.drop_old()
        with nullcontext() if asked.dry_run else self._running.begun(asked.org_id):
            if not asked.dry_run:
                self._resume(asked.org_id)
            found = [self._delete(rows, span, asked) for rows in self._divided(asked)]
        series, rows = (sum(one) for one in zip(*found, strict=True)) if found else (0, 0)
        if not asked.dry_run:
            log.info(
                "event=deleted org=%d metrics=%d series=%d rows=%d start_s=%d end_s=%d",
                asked.org_id, len(asked.metrics), series, rows, span.start_s, span.end_s,
            )  # fmt: skip
        return DeletionResult(series, rows, span.start_s, span.end_s)

    def _divided(self, asked: DeletionRequest) -> Iterator[DeletedRows]:
        """Yield the series of a request; on a cluster, which has no table of ids, in several parts."""
        if entries(asked.metrics) <= MAX_LISTED:
            if asked.metrics:
                yield DeletedRows(asked.org_id, asked.metrics)
        elif self._store.cluster is None:
            with self._ids.table(asked.metrics) as table:
                yield DeletedRows(asked.org_id, asked.metrics, table)
        else:
            for part in divided_series(asked.metrics):
                yield DeletedRows(asked.org_id, part)

    def _delete(self, rows: DeletedRows, span: DeletionRange, asked: DeletionRequest) -> tuple[int, int]:
        """Delete some series; return the number of them and of their rows."""
        ((series,),) = self._store.rows(statements.count_series(rows, span))
        counted = sum(
            self._count(statements.count_rows(rows, kind, f"{kind}_{g.name}", *span.whole(g.seconds)))
            for kind in rows.kinds
            for g in GRANULARITIES
        )
        if not asked.dry_run:
            tag = uuid.uuid4().hex
            with self._announced(rows, span):
                samples = Mutations(self._store, tag)
                with self._alone(rows.org_id):
                    self._check_settled(rows.org_id)
                    self._begin(rows, span, samples)
                samples.wait()
            with self._catalog_of(rows.org_id), self._renewed(rows.org_id):
                self._clean_catalog(rows, span, f"{tag}c")
        return int(series), counted

    def _check_settled(self, org_id: int, *, shared: bool = False) -> None:
        """Raise DeletionBusyError if a batch would bring deleted rows back; `shared`: or other orgs wait."""
        try:
            found = self._parts.unsettled
            unsettled = found(org_id, shared=shared) if found is not None else ()
        except JournalError as e:
            raise DeletionBusyError(f"the journal cannot be read ({e}): delete again later") from None
        if unsettled:
            raise DeletionBusyError(unsettled_text(org_id, unsettled))

    def _resume(self, org_id: int) -> None:
        """Delete the tags and strings that an earlier deletion of the org left, if its note is there."""
        if self._store.cluster is not None or not self._parts.alone or not self._unfinished.has(org_id):
            return
        tag = uuid.uuid4().hex
        with self._catalog_of(org_id):
            Mutations(self._store, tag).wait_for_earlier("series", _CATALOG_S)
            with self._renewed(org_id):
                self._clean_tags(f"org_id = {org_id}", tag)
                self._clean_strings(org_id, f"{tag}3")
                self._unfinished.end(org_id)
        log.info("event=deletion_resumed org=%d", org_id)

    def _begin(self, rows: DeletedRows, span: DeletionRange, samples: Mutations) -> None:
        """Begin to delete from all rollups, and derive again the buckets at both ends."""
        derived = [
            statements.rederive(rows, kind, span, one, self._kept(rows, kind, one))
            for kind in rows.kinds
            for one in span.rederived()
        ]
        for kind in rows.kinds:
            for g in GRANULARITIES:
                where = statements.within(*span.touched(g.seconds))
                samples.begin(f"{kind}_{g.name}", f"{rows.of(kind)}{where}")
        for sql in derived:  # later rows than those that are being deleted
            self._store.command(sql)

    def _kept(self, rows: DeletedRows, kind: Kind, one: Rederived) -> str:
        """Return how long derived rows are kept: as their finer rows, at most as the deleted ones were."""
        ((longest,),) = self._store.rows(statements.longest_kept(rows, kind, one))
        days = max(int(longest), self._retention.days(one.coarser.name))
        eras = [self._retention, *(era.retention for era in read_eras(self._store))]
        whole = ", ".join(sorted({str(era.days(one.finer.name)) for era in eras}))
        return f"if(retention_days IN ({whole}), toUInt16({days}), retention_days)"

    def _clean_catalog(self, rows: DeletedRows, span: DeletionRange, tag: str) -> None:
        """Delete the rows of the catalog that describe no sample any more."""
        single = self._store.cluster is None
        noted = single and self._parts.alone
        if noted:
            self._unfinished.begin(rows.org_id)
        gone = Mutations(self._store, f"{tag}1")
        for kind in rows.kinds:
            daily = self._qualified(f"{kind}_1d") if single else ""
            gone.begin("series", statements.gone_series(rows, kind, span, daily))
        gone.wait(_CATALOG_S)
        if not single:  # rows of one table are on other servers than those of another
            return
        self._clean_tags(rows.of_metrics(), tag)
        if noted:  # else another indexer may use a string of which no series is stored yet
            self._clean_strings(rows.org_id, f"{tag}3")
            self._unfinished.end(rows.org_id)

    def _clean_tags(self, where: str, tag: str) -> None:
        """Delete the tags that no series of their metric has."""
        series, tags = self._qualified("series"), Mutations(self._store, f"{tag}2")
        tags.begin("metric_tag_keys", statements.gone_tag_keys(where, series))
        turns = self._turns(f"SELECT count() FROM metric_tag_values WHERE {where}")
        for turn in range(turns):
            tags.begin("metric_tag_values", statements.gone_tag_values(where, series, turn, turns))
        tags.wait(_CATALOG_S)

    def _clean_strings(self, org_id: int, tag: str) -> None:
        series, strings = self._qualified("series"), Mutations(self._store, tag)
        turns = self._turns(f"SELECT count() FROM strings WHERE org_id = {org_id}")
        for turn in range(turns):
            strings.begin("strings", statements.gone_strings(org_id, series, turn, turns))
            strings.wait(_CATALOG_S)  # one turn's ids in memory, not all

    def _turns(self, counting: str) -> int:
        return 1 + self._count(counting) // _TURN_ROWS

    def _count(self, sql: str) -> int:
        ((count,),) = self._store.rows(sql)
        return int(count)

    @contextmanager
    def _catalog_of(self, org_id: int) -> Iterator[None]:
        """Wait for the deletions that clean the catalog, before INSERTs of the org are held back."""
        self._running.step(org_id, Step.WAITS)
        with self._catalog:
            self._running.step(org_id, Step.CATALOG)
            yield
        self._running.step(org_id, Step.SAMPLES)

    @contextmanager
    def _alone(self, org_id: int) -> Iterator[None]:
        try:
            with self._parts.gate.alone(org_id, _QUIET_S):
                yield
        except TimeoutError:
            raise DeletionBusyError("INSERTs are running that do not end: delete again later") from None

    @contextmanager
    def _settled(self, org_id: int) -> Iterator[None]:
        """Hold INSERTs of an org back while no batch has frames of it and of other orgs.

        Raises DeletionBusyError if there is one for too long.
        """
        for left in reversed(range(_LOOKS)):
            with self._alone(org_id):
                try:
                    self._check_settled(org_id, shared=True)
                except DeletionBusyError:
                    if not left:
                        raise
                else:
                    yield
                    return
            self._parts.sleep(_QUIET_S / _LOOKS)

    @contextmanager
    def _renewed(self, org_id: int) -> Iterator[None]:
        """Hold INSERTs of an org back while rows of its catalog go, and empty all caches before and after."""
        with self._settled(org_id):
            self._parts.renew()  # if this process ends in between, Redis claims no deleted rows
            try:
                yield
            finally:
                self._parts.renew()

    @contextmanager
    def _announced(self, rows: DeletedRows, span: DeletionRange) -> Iterator[None]:
        """Tell readers in this process which cells change, from the beginning to the end."""
        with ExitStack() as stack:
            if self._parts.insert_feed is not None:
                for kind in rows.kinds:
                    block = footprint(rows, kind, span)
                    stack.enter_context(self._parts.insert_feed.announce(kind, block, first=False))
            yield

    def _qualified(self, table: str) -> str:
        return f"{quote_name(self._store.database)}.{quote_name(table)}"


def divided_series(metrics: Sequence[MetricSeries]) -> Iterator[list[MetricSeries]]:
    """Yield the series in parts whose ids fit into the text of a statement."""
    part: list[MetricSeries] = []
    for one in metrics:
        size = 8 * MAX_LISTED
        pieces = [one.series[at : at + size] for at in range(0, len(one.series), size)] or [b""]
        for piece in pieces:
            smaller = MetricSeries(one.project_id, one.kind, one.metric_id, piece)
            if part and entries([*part, smaller]) > MAX_LISTED:
                yield part
                part = []
            part.append(smaller)
    if part:
        yield part


def footprint(rows: DeletedRows, kind: Kind, span: DeletionRange) -> Block:
    """Return the metrics and times of a deletion as the block of an INSERT would have them."""
    first_s, end_s = span.touched(GRANULARITIES[-1].seconds)
    pairs = sorted({(one.project_id, one.metric_id) for one in rows.metrics if one.kind == kind})
    of_pairs = np.array(pairs, dtype=np.uint64).repeat(2, axis=0)
    return {
        "org_id": np.full(len(of_pairs), rows.org_id, np.uint32),
        "project_id": of_pairs[:, 0].astype(np.uint32),
        "metric_id": np.ascontiguousarray(of_pairs[:, 1]),
        "bucket": np.tile(np.array([first_s, end_s - 1], np.uint32), len(pairs)),
    }
