"""Identities of stored frames in ClickHouse, for frames that the journal does not know.

An identity ends in a number that counts up. So 64 of one sender are a row with a mask of bits: 10 million are
some 160,000 rows, and writing one twice changes nothing. A batch's identities are written after its rows, so
one that is found here is stored in all kinds. Messages and `up` are left out: a row each, and the journal has
them. Where several indexers write, rows of each journal have the numbers of its stored batches. Sync: runs
in threads. Thread-safe.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from agent.wire.frame import OF_MESSAGES, OF_UP
from indexer.clickhouse.native_format import ColumnData
from indexer.clickhouse.schema.bookkeeping import IDENTITIES
from indexer.clickhouse.store import SentTable, Store
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.frame_to_columns import DAY_S

_BITS: Final = 64
_NUMBERED: Final = re.compile(r"(.*)/(0|[1-9][0-9]{0,17})(?:/days-([0-9]+))?", re.DOTALL)
#: How sources begin: of frames, of parts of frames, and of identities without a number.
_FRAME, _PART, _OTHER = "f", "p", "x"
#: How the source of a journal's batches begins.
_JOURNAL: Final = "j"
#: The sources of all journals' batches: from the first text, to before the second.
JOURNAL_SOURCES: Final = (_JOURNAL, chr(ord(_JOURNAL) + 1))
#: Rows kept in memory after a look-up.
_MAX_CACHED: Final = 50_000
#: Days that an identity is kept beyond the days it is remembered: partitions are dropped as a whole.
_SPARE_DAYS: Final = 2


class IdentityBit(NamedTuple):
    """The place of an identity: a row, and a bit of its mask."""

    source: str
    block: int
    bit: int


def bit_of(identity: str) -> IdentityBit:
    """Return the place of an identity; no two have the same.

    The identity of a part of a frame (indexer/write/split_by_day.py) ends in its group of days. One that does
    not end in a number has its own row.
    """
    found = _NUMBERED.fullmatch(identity)
    if found is None:
        return IdentityBit(f"{_OTHER}{identity}", 0, 0)
    name, number, group = found.groups()
    source = f"{_FRAME}{name}" if group is None else f"{_PART}{group}/{name}"
    return IdentityBit(source, *divmod(int(number), _BITS))


def identity_of(place: IdentityBit) -> str:
    """Return the identity at a place."""
    kind, rest, number = place.source[0], place.source[1:], place.block * _BITS + place.bit
    if kind == _FRAME:
        return f"{rest}/{number}"
    group, _, name = rest.partition("/")
    return f"{name}/{number}/days-{group}" if kind == _PART else rest


def is_remembered(identity: str) -> bool:
    """Return whether identities of its kind are written: those of agents' frames."""
    return not identity.startswith((OF_MESSAGES, OF_UP))


class StoredIdentities:
    """Stores identities. `days`: how long they are remembered. `now_ms`: the wall clock.

    `batch_of`: the journal's name and the number of a token's batch, where several indexers write.
    """

    def __init__(
        self,
        store: Store,
        days: int,
        now_ms: Callable[[], int],
        batch_of: Callable[[str], tuple[str, int]] | None = None,
    ) -> None:
        self._batch_of = batch_of
        self._store = store
        self._days = days
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._masks: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._writes = 0

    def add(self, token: str, units: Sequence[AcceptedFrame]) -> None:
        """Write the identities of a batch whose rows are stored. Raises StoreError."""
        masks: Counter[tuple[str, int]] = Counter()
        for source, block, bit in {bit_of(unit.identity) for unit in units if is_remembered(unit.identity)}:
            masks[source, block] += 1 << bit  # each bit once
        if self._batch_of is not None:
            journal, number = self._batch_of(token)
            masks[f"{_JOURNAL}{journal}", number // _BITS] += 1 << number % _BITS
        self.write(f"{token}/identities", masks)

    def write(self, token: str, masks: Mapping[tuple[str, int], int]) -> None:
        """Write bits by source and block. Raises StoreError."""
        if not masks:
            return
        now_ms, rows = self._now_ms(), len(masks)
        expires = now_ms // 1000 // DAY_S + self._days + _SPARE_DAYS
        columns: dict[str, ColumnData] = {
            "source": [source for source, _ in masks],
            "block": np.fromiter((block for _, block in masks), np.uint64, rows),
            "mask": np.fromiter(masks.values(), np.uint64, rows),
            "last_ms": np.full(rows, now_ms, np.uint64),
            "expires": np.full(rows, expires, np.uint16),
        }
        self._store.insert(IDENTITIES, columns, token=token)
        with self._lock:
            self._writes += 1
            for key in masks:
                self._masks.pop(key, None)

    def has(self, identity: str) -> bool:
        """Return whether the identity was written and has not expired. Raises StoreError."""
        return bool(self.stored_of([identity]))

    def stored_of(self, identities: Collection[str]) -> set[str]:
        """Return those that were written and have not expired; asks once at most. Raises StoreError."""
        places = {identity: bit_of(identity) for identity in identities}
        wanted = {(source, block) for source, block, _ in places.values()}
        with self._lock:
            masks = {key: self._masks[key] for key in wanted & self._masks.keys()}
            writes = self._writes
        if unknown := wanted - masks.keys():
            read = dict.fromkeys(unknown, 0) | self._read(unknown)
            masks |= read
            with self._lock:
                if writes == self._writes:  # else they may be some of those just written
                    self._masks |= read
                    while len(self._masks) > _MAX_CACHED:
                        self._masks.popitem(last=False)
        return {i for i, (source, block, bit) in places.items() if masks[source, block] >> bit & 1}

    def latest(self, max_identities: int) -> list[str]:
        """Return the highest identity of each of the rows written last. Raises StoreError."""
        rows = self._store.rows(
            f"SELECT source, block, groupBitOr(mask), max(last_ms) AS at FROM {IDENTITIES}"
            f" WHERE expires = (SELECT max(expires) FROM {IDENTITIES})"
            f" AND substring(source, 1, 1) IN ('{_FRAME}', '{_PART}', '{_OTHER}')"
            " GROUP BY source, block ORDER BY at DESC LIMIT {n:UInt32}",
            {"n": max_identities},
        )
        return [
            identity_of(IdentityBit(source, int(block), int(mask).bit_length() - 1))
            for source, block, mask, _ in rows
        ]

    def last_batch(self, journal: str) -> int:
        """Return the highest number of a journal's stored batches; 0 for none. Raises StoreError."""
        rows = self._store.rows(
            f"SELECT block, groupBitOr(mask) FROM {IDENTITIES} WHERE source = {{source:String}}"
            " GROUP BY block ORDER BY block DESC LIMIT 1",
            {"source": f"{_JOURNAL}{journal}"},
        )
        return max((int(block) * _BITS + int(mask).bit_length() - 1 for block, mask in rows), default=0)

    def any(self) -> bool:
        """Return whether any identity is stored. Raises StoreError."""
        return bool(self._store.rows(f"SELECT 1 FROM {IDENTITIES} LIMIT 1"))

    def last_ms(self) -> int:
        """Return when identities were last written; 0 for never. Raises StoreError."""
        ((at_ms,),) = self._store.rows(f"SELECT max(last_ms) FROM {IDENTITIES}")
        return int(at_ms)

    def read(self, sources: Collection[str], first: int, last: int) -> dict[tuple[str, int], int]:
        """Return the masks of sources in blocks from the first to the last. Raises StoreError."""
        rows = self._store.rows(
            f"SELECT source, block, groupBitOr(mask) FROM {IDENTITIES}"
            " WHERE source GLOBAL IN (SELECT source FROM wanted)"
            " AND block BETWEEN {first:UInt64} AND {last:UInt64} GROUP BY source, block",
            {"first": first, "last": last},
            sent=[SentTable("wanted", {"source": list(sources)})],
        )
        return {(source, int(block)): int(mask) for source, block, mask in rows}

    def has_between(self, first: str, end: str) -> bool:
        """Return whether there is a source from `first` to before `end`. Raises StoreError."""
        sql = f"SELECT 1 FROM {IDENTITIES} WHERE source >= {{a:String}} AND source < {{b:String}} LIMIT 1"
        return bool(self._store.rows(sql, {"a": first, "b": end}))

    def _read(self, keys: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the masks of the rows with these sources and blocks."""
        columns: dict[str, ColumnData] = {
            "source": [source for source, _ in keys],
            "block": np.fromiter((block for _, block in keys), np.uint64, len(keys)),
        }
        rows = self._store.rows(
            f"SELECT source, block, groupBitOr(mask) FROM {IDENTITIES}"
            " WHERE source GLOBAL IN (SELECT source FROM wanted)"
            " AND (source, block) GLOBAL IN (SELECT source, block FROM wanted) GROUP BY source, block",
            sent=[SentTable("wanted", columns)],
        )
        return {(source, int(block)): int(mask) for source, block, mask in rows}
