"""Everything that is exposed: the totals of all series, folded from frames.

Owns the bounds, the expiry and the moment that a scrape shows. The agent folds each frame after it was made,
so a line costs nothing here. `publish` copies the tables once all rows of a flush are folded. So a scrape
shows one moment, however long it takes.

* A series is created at the start of its first bucket, but not before the last moment shown without it.
* A gauge or set with a time after that of the frame gives way to any row: its clock was ahead.
* A series expires `lifetime_s` after its last row: by the mapping file for its name, else the default.
* Series beyond `max_series` are added to the series `__overflow__="true"` of their metric, those of a new
  metric under the name `__overflow__`. So are those that need more characters of names and labels than
  KEY_CHARACTERS for each of `max_series`.
* Histogram buckets beyond `max_entries` make the growing series coarser; set members beyond it are forgotten,
  the oldest first: then a second row of the same bucket counts as the larger of the two.
* Of two types of one name the first keeps it (agent/exposition/series_names.py); rows of the other are
  dropped and counted.

Pure. For one thread, except `published`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from agent.exposition.frame_series import LE, SeriesKey, column, numbers, pairs, series_keys, without_le
from agent.exposition.series_names import SeriesNames
from agent.exposition.totals import CounterTotal, GaugeValue, HistogramRow, HistogramTotal, SetSize
from agent.protocol.line import Kind
from agent.wire.frame import Counters, Distributions, Frame, Gauges, Sets
from agent.wire.underscore_forms import label_form

_OVERFLOW: Final = "__overflow__"
#: Expired series are looked for this often at most: it takes a walk over all.
_SWEEP_EVERY_S: Final = 5.0
_MEMBER_BYTES: Final = 8
#: Characters of name and labels of a series, on average over the most that there may be.
KEY_CHARACTERS: Final = 256
_MIN_CHARACTERS: Final = 1 << 16
#: A histogram of so few buckets is not made coarser.
_FEW_BUCKETS: Final = 8


class PublishedSeries(msgspec.Struct, frozen=True):
    """All series of one moment. The tables must not be changed."""

    counters: Mapping[SeriesKey, CounterTotal] = {}
    gauges: Mapping[SeriesKey, GaugeValue] = {}
    sets: Mapping[SeriesKey, SetSize] = {}
    histograms: Mapping[SeriesKey, HistogramTotal] = {}

    @property
    def series(self) -> int:
        """Number of series."""
        return len(self.counters) + len(self.gauges) + len(self.sets) + len(self.histograms)


class CumulativeState:
    """See the module. `lifetime_s` returns how long series of a name are kept; infinite: for ever.

    `started_s` is the Unix time of the start.
    """

    def __init__(
        self,
        *,
        max_series: int,
        max_entries: int,
        lifetime_s: Callable[[str], float],
        started_s: float,
        static: Mapping[str, str] | None = None,
        utf8: bool = False,
    ) -> None:
        self.published = PublishedSeries()
        self.overflow_rows = 0
        self.clashing_rows = 0
        self.expired_series = 0
        self._shown_s = started_s
        self._max_series = max_series
        self._max_characters = max(max_series * KEY_CHARACTERS, _MIN_CHARACTERS)
        self._characters = 0  # of the keys of all series
        self._max_entries = max_entries
        self._lifetime_s = lifetime_s
        self._utf8 = utf8
        tags = {key if utf8 else label_form(key): value for key, value in (static or {}).items()}
        self._overflow_labels = tuple(chain.from_iterable(sorted({**tags, _OVERFLOW: "true"}.items())))
        self._names = SeriesNames()
        self._counters: dict[SeriesKey, CounterTotal] = {}
        self._gauges: dict[SeriesKey, GaugeValue] = {}
        self._sets: dict[SeriesKey, SetSize] = {}
        self._histograms: dict[SeriesKey, HistogramTotal] = {}
        self._tables: Mapping[Kind, MutableMapping[SeriesKey, Any]] = {
            Kind.COUNTER: self._counters,
            Kind.GAUGE: self._gauges,
            Kind.SET: self._sets,
            Kind.DISTRIBUTION: self._histograms,
        }
        self._entries = 0  # histogram buckets
        self._members: dict[SeriesKey, bytes] = {}  # of the latest bucket of each set
        self._member_bytes = 0
        self._swept_s = 0.0

    @property
    def entries(self) -> int:
        """Histogram buckets and set members in memory."""
        return self._entries + self._member_bytes // _MEMBER_BYTES

    def fold(self, frame: Frame, now_s: float) -> None:
        """Add all rows of a frame; `now_s` is a time that never steps."""
        keys = series_keys(frame, utf8=self._utf8)
        lifetimes = _Lifetimes(self._lifetime_s, now_s)
        self._fold_counters(frame.counters, keys, lifetimes)
        self._fold_gauges(frame.gauges, keys, lifetimes, frame.created_ms)
        self._fold_sets(frame.sets, keys, lifetimes, frame.created_ms)
        self._fold_distributions(frame.distributions, keys, lifetimes)

    def publish(self, now_s: float, unix_s: float) -> None:
        """Show all rows folded so far, without expired series; `unix_s` is the machine's time."""
        self._shown_s = round(unix_s, 3)
        if now_s - self._swept_s >= _SWEEP_EVERY_S:
            self._swept_s = now_s
            self._expire(now_s)
        self.published = PublishedSeries(
            self._counters.copy(), self._gauges.copy(), self._sets.copy(), self._histograms.copy()
        )

    def _fold_counters(self, rows: Counters, keys: Sequence[SeriesKey], lifetimes: _Lifetimes) -> None:
        table = self._counters
        columns = column("I", rows.series), column("I", rows.bucket), numbers(rows.value)
        for series, bucket_s, delta in zip(*columns, strict=True):
            key = keys[series]
            before = table.get(key)
            if before is None:
                found = self._key(key, Kind.COUNTER)
                if found is None:
                    continue
                key = found
                before = table.get(key) or CounterTotal(max(bucket_s, self._shown_s), 0.0)
            table[key] = before.plus(delta, lifetimes[key[0]])

    def _fold_gauges(
        self, rows: Gauges, keys: Sequence[SeriesKey], lifetimes: _Lifetimes, created_ms: int
    ) -> None:
        table = self._gauges
        columns = column("I", rows.series), column("q", rows.last_ms), numbers(rows.last)
        for series, time_ms, value in zip(*columns, strict=True):
            key = keys[series]
            before = table.get(key)
            if before is None:
                found = self._key(key, Kind.GAUGE)
                if found is None:
                    continue
                key = found
                before = table.get(key)
            if before is None or time_ms >= before.time_ms or before.time_ms > created_ms:
                table[key] = GaugeValue(lifetimes[key[0]], time_ms, value)

    def _fold_sets(
        self, rows: Sets, keys: Sequence[SeriesKey], lifetimes: _Lifetimes, created_ms: int
    ) -> None:
        start = 0
        found: dict[SeriesKey, list[bytes]] = {}  # joined once: many rows may be of the series __overflow__
        columns = column("I", rows.series), column("I", rows.bucket), column("I", rows.length)
        for series, bucket_s, length in zip(*columns, strict=True):
            members = rows.member[start : start + length * _MEMBER_BYTES]
            start += len(members)
            key = self._key(keys[series], Kind.SET)
            if key is None:
                continue
            before = self._sets.get(key)
            if before is not None and bucket_s < before.bucket_s <= created_ms / 1_000:
                continue  # late: a later bucket is shown
            if before is None or bucket_s != before.bucket_s:
                self._sets[key] = SetSize(0.0, bucket_s, 0)
                found[key] = [members]
            elif key in found:
                found[key].append(members)
            else:
                found[key] = [self._members.get(key, b""), members]
        for key, parts in found.items():
            before, members = self._sets[key], _union(parts)
            size = max(before.size, len(members) // _MEMBER_BYTES)
            self._sets[key] = SetSize(lifetimes[key[0]], before.bucket_s, size)
            self._keep_members(key, members)

    def _fold_distributions(
        self, rows: Distributions, keys: Sequence[SeriesKey], lifetimes: _Lifetimes
    ) -> None:
        table = self._histograms
        positive = pairs(rows.positive_length, rows.positive_index, rows.positive_count)
        negative = pairs(rows.negative_length, rows.negative_index, rows.negative_count)
        moments = map(
            HistogramRow, numbers(rows.count), numbers(rows.sum), numbers(rows.zero), positive, negative
        )
        for series, bucket_s, row in zip(
            column("I", rows.series), column("I", rows.bucket), moments, strict=True
        ):
            key = keys[series]
            if LE in key:
                key = without_le(key)
            before = table.get(key)
            if before is None:
                found = self._key(key, Kind.DISTRIBUTION)
                if found is None:
                    continue
                key = found
                before = table.get(key) or HistogramTotal(max(bucket_s, self._shown_s), 0.0)
            after = before.plus(row, lifetimes[key[0]])
            while (
                self._entries + after.entries - before.entries > self._max_entries
                and after.entries > max(before.entries, _FEW_BUCKETS)
                and (halved := after.halved()).schema < after.schema
            ):
                after = halved
            self._entries += after.entries - before.entries
            table[key] = after

    def _key(self, key: SeriesKey, kind: Kind) -> SeriesKey | None:
        """Return the series for rows of a key: itself, its overflow series, or None if it may not be."""
        table = self._tables[kind]
        if key in table:
            return key
        size = sum(map(len, key))
        if self.series >= self._max_series or self._characters + size > self._max_characters:
            self.overflow_rows += 1
            name = key[0] if self._names.has(key[0], kind) else _OVERFLOW
            key = (name, *self._overflow_labels)
            if key in table:
                return key
            size = sum(map(len, key))
        if not self._names.is_free(key[0], kind):
            self.clashing_rows += 1
            return None
        self._names.add(key[0], kind)
        self._characters += size
        return tuple(map(sys.intern, key))

    @property
    def series(self) -> int:
        """Number of series in memory."""
        return len(self._counters) + len(self._gauges) + len(self._sets) + len(self._histograms)

    def _keep_members(self, key: SeriesKey, members: bytes) -> None:
        self._forget_members(key)
        self._members[key] = members
        self._member_bytes += len(members)
        while self._member_bytes > self._max_entries * _MEMBER_BYTES:
            self._forget_members(next(iter(self._members)))

    def _forget_members(self, key: SeriesKey) -> None:
        self._member_bytes -= len(self._members.pop(key, b""))

    def _expire(self, now_s: float) -> None:
        for kind, key in list(self._expired(now_s)):
            gone = self._tables[kind].pop(key)
            self._names.remove(key[0], kind)
            self._characters -= sum(map(len, key))
            self.expired_series += 1
            if isinstance(gone, HistogramTotal):
                self._entries -= gone.entries
            elif isinstance(gone, SetSize):
                self._forget_members(key)

    def _expired(self, now_s: float) -> Iterator[tuple[Kind, SeriesKey]]:
        for kind, table in self._tables.items():
            yield from ((kind, key) for key, value in table.items() if value.expires_s <= now_s)


class _Lifetimes(dict[str, float]):
    """The time at which series of a name expire, if the row of now is their last; looked up once a frame."""

    def __init__(self, lifetime_s: Callable[[str], float], now_s: float) -> None:
        super().__init__()
        self._lifetime_s = lifetime_s
        self._now_s = now_s

    def __missing__(self, name: str) -> float:
        self[name] = expires_s = self._now_s + self._lifetime_s(name)
        return expires_s


def _union(parts: Sequence[bytes]) -> bytes:
    """Return the distinct members of all parts, of which each has a member once."""
    filled = [part for part in parts if part]
    together, size = b"".join(filled), _MEMBER_BYTES
    if len(filled) <= 1:
        return together
    return b"".join({together[i : i + size] for i in range(0, len(together), size)})
