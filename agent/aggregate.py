"""The aggregator: bytes of packets in, 10 s buckets of mergeable state out.

Owns which line goes to which bucket, the memory for deltas of gauges, and the bounds of both.

* A line belongs to the bucket of its `|T`, else of its arrival. A `|T` older than `lateness_s` or further
  ahead than `future_s` is moved to that edge and counted.
* Everything merges, so a bucket may leave in parts: lines for a bucket that has left simply make a new part,
  and reaching the memory bound only means to flush early (`full`).
* A delta (`+1|g`) starts from the gauge's last value, in this bucket or an earlier one, or from 0 if there
  was none within `gauge_memory_s`.
* The table's key is the bytes as sent (the line without its value): a line of a known series costs no
  parsing but its value's. What the quick way cannot do goes through agent/line.py, which alone says what is
  right.

Pure: `now_ms` is an argument; not thread-safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import inf
from typing import Any, Final, assert_never
from weakref import WeakValueDictionary

from xxhash import xxh64_intdigest

from agent.cells import (
    PENDING_MAX,
    Bucket,
    Cell,
    CounterCell,
    DistributionCell,
    GaugeCell,
    Series,
    SetCell,
    new_cell,
)
from agent.frame import BUCKET_SECONDS
from agent.line import (
    MAX_NUMBER,
    NUMBER_BYTES,
    BadLine,
    Head,
    Ignored,
    Kind,
    Limits,
    Line,
    Reason,
    Skip,
    number,
    parse_head,
    parse_line,
)
from agent.remember import Remember
from agent.settings import Aggregate

BUCKET_MS: Final = BUCKET_SECONDS * 1000

# What the quick way does with a value; a binding is (what, cell, weight).
_COUNTER, _PENDING, _GAUGE, _SET, _WEIGHTED = range(5)
_SIGNS: Final = b"+-"


_SeriesKey = tuple[Kind, str, tuple[tuple[str, str], ...]]


class Known(Head, frozen=True, kw_only=True):
    """A head that was seen before, and the series it means."""

    series: Series


class Stats:
    """Running totals since the start, as plain numbers (agent/metrics.py shows them)."""

    def __init__(self) -> None:
        self.lines = 0  # all but empty ones, good and bad
        self.bad: Counter[Reason] = Counter()
        self.skipped: Counter[Skip] = Counter()
        self.ignored: Counter[Ignored] = Counter()
        self.clamped_old = 0
        self.clamped_future = 0
        self.early_flushes = 0


class Aggregator:
    """See the module's text. Holds at most `max_entries` entries and what one `add` brings in."""

    def __init__(
        self,
        settings: Aggregate = Aggregate(),  # noqa: B008 - frozen
        limits: Limits = Limits(),  # noqa: B008 - frozen
        static_tags: Mapping[str, str] | None = None,
    ) -> None:
        self.stats = Stats()
        self._settings = settings
        self._limits = limits
        self._static = dict(static_tags or {})
        keep_ms = settings.gauge_memory_s * 1000
        self._heads: Remember[bytes, Known] = Remember(settings.max_series, keep_ms)
        # Lives as long as a head that refers to it: one object per series, however its lines are spelled.
        self._series: WeakValueDictionary[_SeriesKey, Series] = WeakValueDictionary()
        self._buckets: dict[int, Bucket] = {}
        self._entries = 0
        self._open = Bucket(0)  # the bucket of the present
        self._fast: dict[bytes, tuple[int, Any, float]] = {}
        self._ones: dict[bytes, CounterCell] = {}  # whole lines that add 1 to a counter
        self._flushed_ms = -1

    @property
    def entries(self) -> int:
        """Cells, set members, histogram entries and bindings held now."""
        return self._entries

    @property
    def full(self) -> bool:
        """True if all should be flushed now."""
        return self._entries >= self._settings.max_entries

    @property
    def live_series(self) -> int:
        """Series of the present bucket."""
        return len(self._open.cells)

    @property
    def remembered_series(self) -> int:
        """Series remembered between buckets: those of the remembered heads."""
        return len(self._series)

    @property
    def forgotten_heads(self) -> int:
        """Heads forgotten before their time because `max_series` was reached."""
        return self._heads.evicted

    def flush(self, now_ms: int) -> list[Bucket]:
        """The buckets that ended at or before `now_ms`, oldest first; the caller owns them."""
        done = [b for b in self._buckets.values() if (b.start_s + BUCKET_SECONDS) * 1000 <= now_ms]
        return self._hand_over(done)

    def flush_all(self, now_ms: int) -> list[Bucket]:
        """All buckets, the present one too: at the end, or early when `full`."""
        self.stats.early_flushes += self.full
        self._flushed_ms = now_ms
        return self._hand_over(list(self._buckets.values()))

    def _hand_over(self, buckets: list[Bucket]) -> list[Bucket]:
        for bucket in buckets:
            del self._buckets[bucket.start_s]
            self._entries -= bucket.entries
            if bucket is self._open:
                self._present(Bucket(0))
        return sorted((b for b in buckets if b.cells), key=lambda b: b.start_s)

    def _present(self, bucket: Bucket) -> None:
        self._open, self._fast, self._ones = bucket, {}, {}

    def _bucket_of(self, time_ms: int) -> Bucket:
        start_s = time_ms // BUCKET_MS * BUCKET_SECONDS
        bucket = self._buckets.get(start_s)
        if bucket is None:
            bucket = self._buckets[start_s] = Bucket(start_s)
            self._entries += 1
        return bucket

    def add(self, data: bytes, now_ms: int) -> None:
        """Takes the lines of one or more packets, parted by newlines, arrived at `now_ms` (Unix time).

        The hot loop: one function, because a call per line would double its cost.
        """
        if now_ms == self._flushed_ms:
            now_ms += 1  # so that which value of a gauge is the last is never left open between two flushes
        bucket = self._bucket_of(now_ms)
        if bucket is not self._open:
            self._present(bucket)
            self._heads.tick(now_ms)
        find_one, find, longest = self._ones.get, self._fast.get, self._limits.max_line_bytes
        grown = 0
        lines = data.split(b"\n")
        self.stats.lines += len(lines)
        for line in lines:
            counter = find_one(line)
            if counter is not None:
                counter.value += 1.0
                continue
            bar = line.find(b"|")
            colon = line.find(b":", 0, bar)
            key = line[:colon] + line[bar:]  # if one is missing: no key of a good line
            raw = line[colon + 1 : bar]
            binding = find(key)
            if binding is None or len(line) > longest or not raw or colon < 0:
                binding = self._bind(line, key, raw, bucket, now_ms) if colon > 0 else None
                if binding is None:
                    self._add_slow(line, bucket, now_ms)
                    continue
            what, cell, weight = binding
            if what == _SET:
                member = xxh64_intdigest(raw)
                if member not in cell.members:
                    cell.members.add(member)
                    grown += 1
                continue
            if raw.strip(NUMBER_BYTES):  # packed values, or a bad one
                self._add_slow(line, bucket, now_ms)
                continue
            try:
                value = float(raw)
            except ValueError:
                value = inf
            if not -MAX_NUMBER <= value * weight <= MAX_NUMBER:
                self._add_slow(line, bucket, now_ms)
            elif what == _COUNTER:
                value *= weight
                cell.value += value
                if value == 1.0:
                    self._ones[line] = cell
                    grown += 1
            elif what == _WEIGHTED:
                grown += cell.add(value, weight)
            elif what == _GAUGE and raw[0] in _SIGNS:
                self._add_slow(line, bucket, now_ms)
            else:
                pending = cell.pending
                pending.append(value)
                if what == _GAUGE:
                    cell.pending_ms = now_ms
                if len(pending) >= PENDING_MAX:
                    grown += cell.fold()
        self._grow(bucket, grown)

    def _grow(self, bucket: Bucket, entries: int) -> None:
        bucket.entries += entries
        self._entries += entries

    def _bind(
        self, line: bytes, key: bytes, raw: bytes, bucket: Bucket, now_ms: int
    ) -> tuple[int, Any, float] | None:
        """Finds or makes the cell for a line of a known head, if its value can be added the quick way.

        Only then: a cell that is made here must get a value.
        """
        known = self._heads.get(key)
        if known is None or known.ignored or not raw or len(line) > self._limits.max_line_bytes:
            return None
        if known.kind is not Kind.SET:
            value = number(raw)
            if value is None or not -MAX_NUMBER <= value * known.weight <= MAX_NUMBER:
                return None
            if known.kind is Kind.GAUGE and raw[0] in _SIGNS:
                return None
        cell = self._cell(bucket, known.series)
        if isinstance(cell, GaugeCell):
            _make_latest(known.series, cell, now_ms)
        binding = self._fast[key] = (_what(cell, known.weight), cell, known.weight)
        self._grow(bucket, 1)
        return binding

    def _add_slow(self, line: bytes, bucket: Bucket, now_ms: int) -> None:
        """A line that is the first of its series, or bad, or not plain; `bucket` is the present one."""
        parsed = parse_line(line, self._limits, self._head)
        if not isinstance(parsed, Line):
            self._count_refused(parsed)
            return
        head = parsed.head
        assert isinstance(head, Known)  # self._head gives no other
        self.stats.ignored.update(head.ignored)
        time_ms = now_ms
        if parsed.time_s is not None:
            time_ms = self._clamp(parsed.time_s * 1000, now_ms)
            bucket = self._bucket_of(time_ms)
        cell = self._cell(bucket, head.series)
        self._grow(bucket, self._apply(cell, parsed, head.series, time_ms, now_ms))

    def _count_refused(self, refused: BadLine | Skip) -> None:
        if isinstance(refused, BadLine):
            self.stats.bad[refused.reason] += 1
        elif refused is Skip.EMPTY:
            self.stats.lines -= 1
        else:
            self.stats.skipped[refused] += 1

    def _clamp(self, time_ms: int, now_ms: int) -> int:
        oldest = now_ms - self._settings.lateness_s * 1000
        newest = now_ms + self._settings.future_s * 1000
        if time_ms < oldest:
            self.stats.clamped_old += 1
            return max(oldest, 0)
        if time_ms > newest:
            self.stats.clamped_future += 1
            return newest
        return time_ms

    def _head(self, name: bytes, rest: bytes, limits: Limits) -> Known | BadLine:
        """`parse_head` with a memory, and with the series."""
        key = name + b"|" + rest  # no name has a `|`
        known = self._heads.get(key)
        if known is not None:
            return known
        head = parse_head(name, rest, limits)
        if isinstance(head, BadLine):
            return head
        known = Known(head.kind, head.name, head.tags, head.weight, head.ignored, series=self._intern(head))
        self._heads.put(key, known)
        return known

    def _intern(self, head: Head) -> Series:
        key = (head.kind, head.name, head.tags)
        series = self._series.get(key)
        if series is None:
            tags = tuple(sorted({**self._static, **dict(head.tags)}.items())) if self._static else head.tags
            series = self._series[key] = Series(head.kind, head.name, tags)
        return series

    def _cell(self, bucket: Bucket, series: Series) -> Cell:
        cell = bucket.cells.get(series)
        if cell is None:
            cell = bucket.cells[series] = new_cell(series.kind)
            self._grow(bucket, 1)
        return cell

    def _apply(self, cell: Cell, line: Line, series: Series, time_ms: int, now_ms: int) -> int:
        """Adds a line's values to its cell; gives by how many entries the cell grew."""
        match cell:
            case CounterCell():
                for value in line.values:
                    cell.value += value * line.head.weight
            case GaugeCell():
                self._apply_gauge(cell, line, series, time_ms, now_ms)
            case DistributionCell():
                return sum(cell.add(value, line.head.weight) for value in line.values)
            case SetCell():
                before = len(cell.members)
                cell.members.add(xxh64_intdigest(line.member))
                return len(cell.members) - before
            case _:
                assert_never(cell)
        return 0

    def _apply_gauge(self, cell: GaugeCell, line: Line, series: Series, time_ms: int, now_ms: int) -> None:
        oldest_base_ms = now_ms - self._settings.gauge_memory_s * 1000
        for sent, delta in zip(line.values, line.deltas, strict=True):
            value = sent
            if delta:
                base = cell if cell.has_value else series.gauge
                if base is not None:
                    base.fold()
                    if base.last_ms >= oldest_base_ms:
                        value = _add_within_range(base.last, value)
            cell.add(value, time_ms)
            _make_latest(series, cell, time_ms)


def _what(cell: Cell, weight: float) -> int:
    match cell:
        case CounterCell():
            return _COUNTER
        case GaugeCell():
            return _GAUGE
        case SetCell():
            return _SET
        case DistributionCell():
            return _PENDING if weight == 1.0 else _WEIGHTED
        case _:
            assert_never(cell)


def _make_latest(series: Series, cell: GaugeCell, time_ms: int) -> None:
    """Lets later deltas start from this cell, which has or gets a value at `time_ms`."""
    if series.gauge is None or series.gauge.time_ms <= time_ms:
        series.gauge = cell


def _add_within_range(base: float, delta: float) -> float:
    """A gauge driven out of a float's range by deltas stays at its edge."""
    return min(max(base + delta, -MAX_NUMBER), MAX_NUMBER)
