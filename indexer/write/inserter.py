"""Turns frames into INSERTs: strings and series first, then one block per kind and token.

Owns one attempt to write a batch. Sync: runs in a thread. Repeating an attempt with the same frames and token
gives the same blocks under the same tokens, so ClickHouse keeps each once, in every rollup.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np

from agent.wire.frame import encode
from indexer.clickhouse.faults import Fault
from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.native_format import Block
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.metric_types import KINDS, Kind
from indexer.clickhouse.schema.tables import INPUT, LEGACY_INPUT, rollup_view
from indexer.clickhouse.store import SentTable, Store, StoreError
from indexer.intern.series import Project, SeriesRegistry, U64s
from indexer.intern.string_indexer import StringIndexer
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.frame_to_columns import (
    FrameRows,
    concat,
    group_by_day,
    has_mergeable_rows,
    series_rows,
    sort,
    split_rows,
    to_rows,
)
from indexer.write.insert_feed import InsertFeed
from indexer.write.prepared_rows import PreparedRows
from indexer.write.split_by_day import MAX_BLOCK_ROWS
from indexer.write.stored_identities import StoredIdentities, is_remembered
from indexer.write.write_gate import WriteGate


class Inserter:
    """Writes batches.

    `insert_feed`: announces INSERTs of samples to readers in this process. `retention`: of frames without a
    decision. `legacy`: the store has the input tables of before migration 5, where those go. `identities`:
    stores those of a batch after its rows.
    """

    def __init__(
        self,
        store: Store,
        strings: StringIndexer,
        registry: SeriesRegistry,
        *,
        insert_feed: InsertFeed | None = None,
        retention: Retention | None = None,
        legacy: bool = False,
        identities: StoredIdentities | None = None,
    ) -> None:
        self.gate = WriteGate()  # held while a batch is written
        self._store = store
        self._strings = strings
        self._registry = registry
        self._insert_feed = insert_feed
        self._retention = retention or Retention()
        self._legacy = legacy
        self._identities = identities
        self._prepared = PreparedRows()
        #: Called with the table and its number of rows after each INSERT of samples.
        self.on_insert: Callable[[str, int], None] | None = None

    def prepare(self, units: Sequence[AcceptedFrame]) -> None:
        """Make the rows of frames that wait, and forget those of others; `resolve` then has them.

        In the thread of `insert`. Raises StoreError.
        """
        generation = self._strings.generation
        missing = [u for u in self._prepared.missing(units, generation) if u.kept is not None]
        for unit, rows in zip(missing, self._rows(missing), strict=True):
            self._prepared.put(unit, rows, generation)

    def resolve(self, units: Sequence[AcceptedFrame]) -> list[FrameRows]:
        """Return the rows of frames; their strings get ids. Raises StoreError."""
        if self._is_legacy(units):
            return self._rows(units, legacy=True)
        generation = self._strings.generation
        ready = [self._prepared.take(unit, generation) for unit in units]
        made = iter(self._rows([u for u, rows in zip(units, ready, strict=True) if rows is None]))
        return [next(made) if rows is None else rows for rows in ready]

    def _rows(self, units: Sequence[AcceptedFrame], *, legacy: bool = False) -> list[FrameRows]:
        return [
            to_rows(u.frame, u.with_given(ids), None if legacy else u.kept or self._retention)
            for u, ids in zip(units, self._ids(units), strict=True)
        ]

    def insert(
        self,
        token: str,
        units: Sequence[AcceptedFrame],
        *,
        first: bool = False,
        stored: Collection[str] = (),
        entered: bool = False,
    ) -> int:
        """Write a batch; return its number of rows.

        Raises StoreError; then repeat with the same token and frames. `first`: the token is new, and no
        earlier attempt was made to write these frames. `stored`: INSERTs known as stored, which are left out;
        StoreError names those that succeeded before it. `entered`: the caller has entered the gate.
        """
        with nullcontext() if entered else self.gate.insert({unit.frame.org_id for unit in units}):
            return self._insert(token, units, first=first, stored=stored)

    def _insert(
        self, token: str, units: Sequence[AcceptedFrame], *, first: bool, stored: Collection[str]
    ) -> int:
        units = units if first else self._unstored(units)
        frames = self.resolve(units)
        blocks = {k: sort(concat(b)) for k in KINDS if (b := [f.blocks[k] for f in frames if k in f.blocks])}
        self._write_series(frames, blocks)
        table = LEGACY_INPUT if self._is_legacy(units) else INPUT
        written, done = 0, list(stored)
        parts = (
            (k, *part) for k, whole in blocks.items() for part in enumerate(split_rows(whole, MAX_BLOCK_ROWS))
        )
        try:
            for kind, number, block in parts:
                if (part := f"{kind}/{number}") in stored:
                    continue
                with self._announced(kind, block, first), _named(kind):
                    self._store.insert(
                        f"{table}_{kind}",
                        block,
                        token=f"{token}/{part}",
                        fold=has_mergeable_rows(block),
                    )
                done.append(part)
                written += len(block["series_id"])
                if self.on_insert is not None:
                    self.on_insert(f"{table}_{kind}", len(block["series_id"]))
            if self._identities is not None:
                self._identities.add(token, units)
        except StoreError as e:
            e.stored = tuple(done)
            raise
        return written

    def _unstored(self, units: Sequence[AcceptedFrame]) -> Sequence[AcceptedFrame]:
        """Return the units that are not known as stored in all kinds: a journal may be an older copy."""
        stored = self.stored_of([unit.identity for unit in units])
        return [u for u in units if u.identity not in stored]

    def stored_of(self, identities: Collection[str]) -> set[str]:
        """Return those that ClickHouse knows as stored in all kinds. Raises StoreError."""
        if self._identities is None:
            return set()
        return self._identities.stored_of([one for one in identities if is_remembered(one)])

    def _is_legacy(self, units: Sequence[AcceptedFrame]) -> bool:
        """Return whether a batch was begun before migration 5: the old views know its tokens."""
        return self._legacy and all(unit.kept is None for unit in units)

    def refused(self, units: Sequence[AcceptedFrame], kind: Kind) -> list[AcceptedFrame]:
        """Return the frames that ClickHouse refuses for their bytes, one by one; stores nothing.

        It evaluates the expressions of the views for rows of `kind`. Raises StoreError for any other failure.
        """
        if self._takes(units, kind):
            return []
        if len(units) == 1:
            return list(units)
        half = len(units) // 2
        return self.refused(units[:half], kind) + self.refused(units[half:], kind)

    def _takes(self, units: Sequence[AcceptedFrame], kind: Kind) -> bool:
        ids = zip(units, self._ids(units), strict=True)
        frames = [to_rows(u.frame, u.with_given(of_unit), u.kept or self._retention) for u, of_unit in ids]
        blocks = [frame.blocks[kind] for frame in frames if kind in frame.blocks]
        if not blocks:
            return True
        select = ", ".join(rollup_view(kind, GRANULARITIES[0]).select)
        try:
            self._store.rows(
                f"SELECT sum(ignore(*)) FROM (SELECT {select} FROM sent)",  # our own text
                sent=[SentTable("sent", concat(blocks))],
            )
        except StoreError as e:
            if e.fault is not Fault.BYTES:
                raise
            return False
        return True

    def _announced(self, kind: Kind, block: Block, first: bool) -> AbstractContextManager[None]:
        return (
            nullcontext()
            if self._insert_feed is None
            else self._insert_feed.announce(kind, block, first=first)
        )

    def _ids(self, units: Sequence[AcceptedFrame]) -> list[U64s]:
        """Return the ids of each frame's strings, recorded together."""
        return self._strings.record_columns([(unit.frame.org_id, unit.frame.strings) for unit in units])

    def _write_series(self, frames: Sequence[FrameRows], blocks: Mapping[Kind, Block]) -> None:
        """Write unknown series into their table, before any sample of theirs."""
        rows: list[Block] = []
        fresh: dict[tuple[Project, int], list[tuple[U64s, U64s]]] = {}
        for kind in (k for k, block in blocks.items() if not self._all_known(block)):
            for frame, sighting in ((f, s) for f in frames for s in f.sightings(kind)):
                tenant = Project(frame.series.org_id, frame.series.project_id)
                unknown = self._registry.unknown(tenant, sighting.day, sighting.series_id)
                if unknown.any():
                    rows.append(series_rows(frame.series, sighting, unknown))
                    metric_ids = frame.series.metric_id[sighting.index[unknown]]
                    of_day = fresh.setdefault((tenant, sighting.day), [])
                    of_day.append((sighting.series_id[unknown], metric_ids))
        if rows:
            for block in split_rows(concat(rows), MAX_BLOCK_ROWS):
                self._store.insert("series", block)
            # At once: each registration merges all known series of the day.
            for (tenant, day), found in fresh.items():
                ids, metric_ids = (np.concatenate(column) for column in zip(*found, strict=True))
                self._registry.register(tenant, day, ids, metric_ids)

    def _all_known(self, block: Block) -> bool:
        """Return whether no series of a sorted block is new; checked in order, an eighth of the work."""
        bucket, series_id = block["bucket"], block["series_id"]
        assert isinstance(bucket, np.ndarray)
        assert isinstance(series_id, np.ndarray)
        return not any(
            self._registry.unknown(tenant, day, series_id[rows][of_day]).any()
            for tenant, rows in group_by_tenant(block)
            for day, of_day in group_by_day(bucket[rows])
        )


@contextmanager
def _named(kind: Kind) -> Iterator[None]:
    """Note in a StoreError the kind of the failed INSERT."""
    try:
        yield
    except StoreError as e:
        e.kind = kind
        raise


def remaining_kinds(unit: AcceptedFrame, kind: Kind) -> AcceptedFrame:
    """Return the frame without the kinds that are inserted before `kind`: they are stored."""
    frame = unit.frame
    empty = {k: type(getattr(frame, k))() for k in KINDS[: KINDS.index(kind)]}
    rest = msgspec.structs.replace(frame, **empty)
    return replace(unit, body=encode(rest), frame=rest)


def group_by_tenant(block: Block) -> list[tuple[Project, slice]]:
    """Return the tenants of a sorted block with the rows of each. Usually it is one."""
    org, project = block["org_id"], block["project_id"]
    assert isinstance(org, np.ndarray)
    assert isinstance(project, np.ndarray)
    new = (org[1:] != org[:-1]) | (project[1:] != project[:-1])
    edges = [0, *(np.flatnonzero(new) + 1).tolist(), len(org)]
    return [(Project(int(org[a]), int(project[a])), slice(a, b)) for a, b in pairwise(edges)]
