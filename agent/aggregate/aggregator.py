"""Aggregates lines: bytes of packets in, 10 s buckets of mergeable state out.

Owns the choice of bucket for each line, the series that lines mean, and the bounds of both.

* A line belongs to the bucket of its `|T`, else of its arrival. A `|T` older than `lateness_s` or further
  ahead than `future_s` is moved to that edge and counted.
* All state merges, so a bucket may leave in parts. Lines for a bucket that has left start a new part, and
  reaching the memory bound only means an early flush (`full`).
* A delta (`+1|g`) starts from the gauge's last value: agent/aggregate/gauge_memory.py.
* The head of a line is the line without its value. It is parsed once and cached, so a line with a cached head
  costs only the parsing of its value. Lines that are not plain go through agent/protocol/line.py, which alone
  defines the grammar.

This is the readable definition of the agent's core: tests compare the native core (agent/core/_native) with
it. Pure: `now_ms` is an argument; not thread-safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final, assert_never
from weakref import WeakValueDictionary

from agent.aggregate.cardinality import SeriesLimit
from agent.aggregate.gauge_memory import GaugeMemory
from agent.aggregate.generational_cache import GenerationalCache
from agent.aggregate.state import (
    Bucket,
    Cell,
    CounterCell,
    DistributionCell,
    GaugeCell,
    Series,
    SetCell,
    new_cell,
)
from agent.protocol.further_samples import split_samples
from agent.protocol.line import (
    MAX_NUMBER,
    NUMBER_BYTES,
    BadLine,
    Ignored,
    Kind,
    Limits,
    Line,
    MetricKey,
    Reason,
    Skip,
    parse_line,
    parse_metric_key,
)
from agent.settings import AggregateSettings
from agent.wire.frame import BUCKET_SECONDS

BUCKET_MS: Final = BUCKET_SECONDS * 1000
#: A head counts once more in `max_series` for each of these bytes: long ones are bounded, too.
HEAVY_BYTES: Final = 512

#: A line refused for one of these reasons may hold further samples of its name.
_MAY_HOLD_MORE: Final = (Reason.UNKNOWN_TYPE, Reason.BAD_SAMPLE_RATE)
_COUNTER, _GAUGE, _DISTRIBUTION, _SET = Kind


_SeriesKey = tuple[Kind, str, tuple[tuple[str, str], ...]]


class CachedKey(MetricKey, frozen=True, kw_only=True):
    """A parsed head that was seen before, and the series it means."""

    series: Series
    #: Whether lines are read without agent/protocol/line.py. False if parts are counted or scaled,
    #: or if the head ends in a carriage return, which at the end of a line would not belong to it.
    plain: bool
    #: Whether a mapping drops its lines; the series then belongs to no bucket.
    dropped: bool = False


class LineCounters:
    """Running totals since the start, as plain numbers (agent/telemetry/metrics.py shows them)."""

    def __init__(self) -> None:
        self.lines = 0  # all except empty ones, good and bad
        self.bad: Counter[Reason] = Counter()
        self.skipped: Counter[Skip] = Counter()
        self.ignored: Counter[Ignored] = Counter()
        self.clamped_old = 0
        self.clamped_future = 0
        self.overflow_lines = 0  # of series beyond a limit
        self.early_flushes = 0


#: Of a refused line, for the log.
SHOWN_BYTES: Final = 160


class Aggregator:
    """Aggregates lines; holds at most `max_entries` entries plus the entries of one `add`."""

    def __init__(
        self,
        settings: AggregateSettings = AggregateSettings(),  # noqa: B008 - frozen
        limits: Limits = Limits(),  # noqa: B008 - frozen
        static_tags: Mapping[str, str] | None = None,
        mapper: Callable[[MetricKey], MetricKey | Skip] | None = None,
    ) -> None:
        self.stats = LineCounters()
        self._settings = settings
        self._limits = limits
        self._static = dict(static_tags or {})
        self._mapper = mapper
        keep_ms = settings.gauge_memory_s * 1000
        self._heads: GenerationalCache[bytes, CachedKey] = GenerationalCache(
            settings.max_series, keep_ms, lambda key: 1 + len(key) // HEAVY_BYTES
        )
        # Lives as long as a head that refers to it: one object per series, however its lines are spelled.
        self._series: WeakValueDictionary[_SeriesKey, Series] = WeakValueDictionary()
        self._limit = SeriesLimit(self._series, settings.max_metric_series, settings.max_total_series)
        self._gauges = GaugeMemory(settings)
        self._buckets: dict[int, Bucket] = {}
        self._entries = 0
        self._open = Bucket(0)  # the bucket of the present
        self._flushed_ms = -1
        self._refused: tuple[Reason, bytes] | None = None

    def remap(self, mapper: Callable[[MetricKey], MetricKey | Skip]) -> None:
        """Forget all heads, and ask another mapper about them."""
        self._mapper = mapper
        self._heads.clear()

    def take_refused(self) -> tuple[Reason, bytes] | None:
        """Return the last line refused since the last call, cut to SHOWN_BYTES, and the reason."""
        taken, self._refused = self._refused, None
        return taken

    @property
    def entries(self) -> int:
        """Buckets, cells, set members and histogram entries held now."""
        return self._entries

    @property
    def full(self) -> bool:
        """True if everything should be flushed now."""
        return self._entries >= self._settings.max_entries

    @property
    def live_series(self) -> int:
        """Series of the current bucket."""
        return len(self._open.cells)

    @property
    def remembered_series(self) -> int:
        """Series cached between buckets: those of the cached heads."""
        return len(self._series)

    @property
    def forgotten_heads(self) -> int:
        """Heads evicted early because `max_series` was reached."""
        return self._heads.evicted

    @property
    def forgotten_last_values(self) -> int:
        """Last values of gauges evicted because `max_last_values` was reached."""
        return self._gauges.evicted

    def flush(self, now_ms: int) -> list[Bucket]:
        """Return the buckets that ended at or before `now_ms`, oldest first; the caller owns them."""
        done = [b for b in self._buckets.values() if (b.start_s + BUCKET_SECONDS) * 1000 <= now_ms]
        return self._hand_over(done)

    def flush_all(self, now_ms: int) -> list[Bucket]:
        """Return all buckets, including the current one: at the end, or early when `full`."""
        self.stats.early_flushes += self.full
        self._flushed_ms = now_ms
        return self._hand_over(list(self._buckets.values()))

    def _hand_over(self, buckets: list[Bucket]) -> list[Bucket]:
        for bucket in buckets:
            del self._buckets[bucket.start_s]
            self._entries -= bucket.entries
            if bucket is self._open:
                self._open = Bucket(0)
        return sorted((b for b in buckets if b.cells), key=lambda b: b.start_s)

    def _bucket_of(self, time_ms: int) -> Bucket:
        start_s = time_ms // BUCKET_MS * BUCKET_SECONDS
        bucket = self._buckets.get(start_s)
        if bucket is None:
            bucket = self._buckets[start_s] = Bucket(start_s)
            self._entries += 1
        return bucket

    def add(self, data: bytes, now_ms: int) -> None:
        """Add the newline-separated lines of one or more packets that arrived at `now_ms` (Unix time)."""
        if now_ms == self._flushed_ms:
            now_ms += 1  # so that the order of a gauge's values is unambiguous across a flush
        bucket = self._bucket_of(now_ms)
        if bucket is not self._open:
            self._open = bucket
            self._heads.tick(now_ms)
        lines = data.split(b"\n")
        self.stats.lines += len(lines)
        self._add_lines(lines, bucket, now_ms)

    def _add_lines(self, lines: list[bytes], bucket: Bucket, now_ms: int) -> None:
        """Add lines with cached heads and one plain value; pass all others to `_add_any`.

        One function, because a call per line would double the cost. A cell is created only for a good value.
        """
        find, longest, cells = self._heads.young.get, self._limits.max_line_bytes, bucket.cells
        for line in lines:
            bar = line.find(b"|")
            colon = line.find(b":", 0, bar)
            known = find(line[:colon] + line[bar:])
            raw = line[colon + 1 : bar]
            if known is None or not known.plain or colon < 1 or not raw or len(line) > longest:
                self._add_any(line, bucket, now_ms)
                find = self._heads.young.get  # `put` may have begun another
                continue
            kind, series, weight = known.kind, known.series, known.weight
            value = 0.0
            if kind is not _SET:
                try:
                    value = inf if raw.strip(NUMBER_BYTES) else float(raw)
                except ValueError:
                    value = inf
                if not -MAX_NUMBER <= value * weight <= MAX_NUMBER or (
                    kind is _GAUGE and raw[0] in known.delta_signs
                ):
                    self._add_any(line, bucket, now_ms)
                    continue
            cell: Any = cells.get(series) or self._new_cell(bucket, series)  # of the kind's type
            cell.lines += 1
            if kind is _COUNTER:
                cell.value += value * weight
            elif kind is _GAUGE:
                cell.add(value, now_ms)
                if series.gauge is not cell:
                    self._gauges.make_latest(series, cell, now_ms)
            elif cell.add(value, weight) if kind is _DISTRIBUTION else cell.add(raw):
                self._grow(bucket, 1)

    def parse(self, line: bytes) -> list[Line | BadLine | Skip]:
        """Parse one line with the mapping; several results where it holds further samples of its name."""
        parsed = parse_line(line, self._limits, self._head)
        if isinstance(parsed, BadLine) and parsed.reason in _MAY_HOLD_MORE:
            samples = split_samples(line, self._limits)
            return [parse_line(sample, self._limits, self._head) for sample in samples] or [parsed]
        return [parsed]

    def add_line(self, line: Line, time_ms: int) -> None:
        """Add a line at its own time: one of `parse`, or one made elsewhere, which no mapping changes."""
        series = line.head.series if isinstance(line.head, CachedKey) else self._intern(line.head)
        self._put(line, series, self._bucket_of(time_ms), time_ms, time_ms)

    def _grow(self, bucket: Bucket, entries: int) -> None:
        bucket.entries += entries
        self._entries += entries

    def _add_any(self, line: bytes, bucket: Bucket, now_ms: int) -> None:
        """Add a line that is the first of its series, bad, or not plain; `bucket` is the current one."""
        samples = self.parse(line)
        self.stats.lines += len(samples) - 1
        texts = split_samples(line, self._limits) if len(samples) > 1 else (line,)
        for sample, text in zip(samples, texts, strict=True):
            if isinstance(sample, BadLine):
                self._refused = sample.reason, text[:SHOWN_BYTES]
            self._add_parsed(sample, bucket, now_ms)

    def _add_parsed(self, parsed: Line | BadLine | Skip, bucket: Bucket, now_ms: int) -> None:
        if not isinstance(parsed, Line):
            self._count_refused(parsed)
            return
        assert isinstance(parsed.head, CachedKey)  # self._head gives no other
        time_ms = now_ms
        if parsed.time_s is not None:
            time_ms = self._clamp(parsed.time_s * 1000, now_ms)
            bucket = self._bucket_of(time_ms)
        self._put(parsed, parsed.head.series, bucket, time_ms, now_ms)

    def _put(self, line: Line, series: Series, bucket: Bucket, time_ms: int, now_ms: int) -> None:
        self.stats.ignored.update(line.head.ignored)
        self.stats.overflow_lines += series.overflow
        cell = bucket.cells.get(series) or self._new_cell(bucket, series)
        cell.lines += 1
        self._grow(bucket, self._apply(cell, line, series, time_ms, now_ms))

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

    def _head(self, name: bytes, rest: bytes, limits: Limits) -> CachedKey | BadLine | Skip:
        """Parse a head with the mapping applied, through the cache, and attach its series."""
        key = name + b"|" + rest  # no name contains `|`
        known = self._heads.get(key)
        if known is None:
            head = parse_metric_key(name, rest, limits)
            if isinstance(head, BadLine):
                return head
            mapped = self._mapper(head) if self._mapper else head
            known = self._known(head, mapped, rest)
            if mapped is not head or not known.series.overflow:  # overflow lines leave no cache entry
                self._heads.put(key, known)
        return Skip.MAPPING if known.dropped else known

    def _known(self, sent: MetricKey, mapped: MetricKey | Skip, rest: bytes) -> CachedKey:
        dropped = isinstance(mapped, Skip)
        head = sent if isinstance(mapped, Skip) else mapped
        series = Series(head.kind, head.name, head.tags) if dropped else self._intern(head)
        counted = dropped or series.overflow or bool(head.ignored)
        return CachedKey(
            head.kind, head.name, head.tags, head.weight, head.ignored,
            series=series,
            scale=head.scale,
            marked=head.marked,
            delta_signs=head.delta_signs,
            timer=head.timer,
            divisor=head.divisor,
            plain=not (counted or not head.as_sent or rest.endswith(b"\r")),
            dropped=dropped,
        )  # fmt: skip

    def _intern(self, head: MetricKey) -> Series:
        tags = head.tags
        if self._static:
            tags = tuple(sorted({**self._static, **dict(tags)}.items()))
        key = (head.kind, head.name, tags)
        series = self._series.get(key)
        if series is None and self._limit.is_beyond(head.name):
            return self._limit.overflow(head.kind, head.name, self._static)
        if series is None:
            series = self._series[key] = Series(*key)
            self._limit.count(head.name)
            self._gauges.recall(series)
        if series.kind is _GAUGE and head.delta_signs and not series.deltas:
            self._gauges.begin_deltas(series)
        return series

    @property
    def new_series(self) -> int:
        """Series made since the start, and lines beyond a limit."""
        return self._limit.new_series

    def series_keys(self) -> list[_SeriesKey]:
        """Type, name and tags of all cached series."""
        return list(self._series)

    def _new_cell(self, bucket: Bucket, series: Series) -> Cell:
        cell = bucket.cells[series] = new_cell(series.kind)
        self._grow(bucket, 1)
        return cell

    def _apply(self, cell: Cell, line: Line, series: Series, time_ms: int, now_ms: int) -> int:
        """Add a line's values to its cell; return the number of entries the cell grew by."""
        match cell:
            case CounterCell():
                for value in line.values:
                    cell.add(value, line.head.weight)
            case GaugeCell():
                self._gauges.apply(cell, line, series, time_ms, now_ms)
            case DistributionCell():
                return sum(cell.add(value, line.head.weight) for value in line.values)
            case SetCell():
                return cell.add(line.member)
            case _:
                assert_never(cell)
        return 0

    def export_last_values(self, now_ms: int) -> bytes:
        """Return records (agent/aggregate/last_values.py) of gauges that may get deltas.

        May run concurrently with `add`.
        """
        return self._gauges.export(self._series.valuerefs(), now_ms)

    def import_last_values(self, data: bytes, now_ms: int) -> None:
        """Load such records; to be called before the first line."""
        self._gauges.load(data, now_ms)
