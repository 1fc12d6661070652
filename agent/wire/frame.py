"""The wire format between agent and indexer: one versioned, columnar frame.

Owns the bytes: the agent encodes, the indexer imports this module to decode. A frame is a msgpack array
(msgspec, `array_like`), compressed with zstd. Every string is stored once; a series is a name and tags given
as indexes into `strings`; each metric type has its own columns, whose `series` are indexes into the frame's
series. Columns are raw little-endian arrays, so that neither side creates an object per row.

Pure: bytes and values in, values out. Knows nothing of sockets, clocks or the origin of ids. See
docs/wire-format.md.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import msgspec

if sys.version_info >= (3, 14):  # pragma: no cover
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = 1
CONTENT_TYPE: Final = "application/x-meterhouse-frame"
#: Larger frames (unpacked) are refused before unpacking.
MAX_FRAME_BYTES: Final = 64 << 20
#: Maximum rows of a frame (`agent.flush.max_frame_rows` cannot be set higher).
MAX_ROWS: Final = 1_000_000
#: Maximum strings of a frame: four per row, far more than lines need.
MAX_STRINGS: Final = 4 * MAX_ROWS
BUCKET_SECONDS: Final = 10
#: Prefix of the agent names of backfilled files (agent/backfill/job.py); no agent may use it.
BACKFILL_PREFIX: Final = "backfill/"
#: Prefixes of the agent names of frames that the indexer makes itself: JSON messages, and the metric `up`.
OF_MESSAGES: Final = "messages/"
OF_UP: Final = "up/"
#: With zstd's own checksum: a body corrupted in transit is refused instead of stored.
_COMPRESSION: Final[Mapping[int, int]] = {
    zstd.CompressionParameter.compression_level: 1,
    zstd.CompressionParameter.checksum_flag: 1,
}


class FrameError(ValueError):
    """A frame that cannot be decoded; the text names the problem. Sending it again will not help."""


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of one run of an agent, shared by all its frames."""

    agent: str
    epoch: int
    org_id: int = 1
    project_id: int = 1
    retention_days: int = 0


class SeriesColumns(msgspec.Struct, array_like=True, frozen=True):
    """The series of a frame, one entry each, in columns.

    `tag_key` and `tag_value` hold `sum(tag_count)` entries: those of series 0, then of series 1, and so on.
    Tags are sorted by key, each key once.
    """

    name: bytes = b""  # u32, index into strings
    tag_count: bytes = b""  # u16
    tag_key: bytes = b""  # u32, index into strings
    tag_value: bytes = b""  # u32, index into strings


class Counters(msgspec.Struct, array_like=True, frozen=True):
    """Sum of deltas of one series in one bucket."""

    series: bytes = b""  # u32, index into the frame's series
    bucket: bytes = b""  # u32, Unix seconds of the bucket's start
    value: bytes = b""  # f64


#: The last value of a gauge that ends at its time, as Prometheus' stale marker: readers show no sample.
#: Finite, as all values of frames, and less than others, so that a value of the same time wins.
ENDED: Final = float.fromhex("-0x1.ffffffffff002p+1023")


class Gauges(msgspec.Struct, array_like=True, frozen=True):
    """Last value with its time, and min, max, sum, count of all values."""

    series: bytes = b""  # u32
    bucket: bytes = b""  # u32
    last_ms: bytes = b""  # i64, Unix milliseconds of the last value
    last: bytes = b""  # f64
    min: bytes = b""  # f64
    max: bytes = b""  # f64
    sum: bytes = b""  # f64
    count: bytes = b""  # f64


class Distributions(msgspec.Struct, array_like=True, frozen=True):
    """Exponential buckets (agent/aggregate/exponential_buckets.py defines the index of a value) and moments.

    Bucket counts are weights: a sample rate of 0.1 adds 10. `positive_*` and `negative_*` hold the entries of
    row 0, then of row 1, and so on; indexes ascend within a row.
    """

    series: bytes = b""  # u32
    bucket: bytes = b""  # u32
    count: bytes = b""  # f64
    sum: bytes = b""  # f64
    sum_squares: bytes = b""  # f64
    min: bytes = b""  # f64
    max: bytes = b""  # f64
    zero: bytes = b""  # f64
    positive_length: bytes = b""  # u32, entries of the row
    positive_index: bytes = b""  # i32
    positive_count: bytes = b""  # f64
    negative_length: bytes = b""  # u32
    negative_index: bytes = b""  # i32
    negative_count: bytes = b""  # f64


class Sets(msgspec.Struct, array_like=True, frozen=True):
    """Hashes of the members of one series in one bucket (agent/aggregate/state.py defines the hash)."""

    series: bytes = b""  # u32
    bucket: bytes = b""  # u32
    length: bytes = b""  # u32, members of the row
    member: bytes = b""  # u64


class Frame(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """One wire message.

    `(agent, epoch, sequence)` identifies it for ever: the same identity always means the same rows, however
    often it is sent. `epoch` changes with every start of an agent (Unix nanoseconds of the start).
    """

    version: int = VERSION
    agent: str
    epoch: int
    sequence: int
    created_ms: int
    org_id: int = 1
    project_id: int = 1
    retention_days: int = 0  # 0: the indexer's setting
    strings: list[str] = []
    series: SeriesColumns = SeriesColumns()
    counters: Counters = Counters()
    gauges: Gauges = Gauges()
    distributions: Distributions = Distributions()
    sets: Sets = Sets()
    #: Unix milliseconds: all rows of buckets that ended by then are in frames before this one, but for lines
    #: that are late by `|T`. 0 from agents that send no heartbeats (agent/wire/heartbeat.py).
    flushed_until_ms: int = 0
    #: Lines that were added up in the rows; 0 from agents that do not say.
    lines: int = 0

    @property
    def identity(self) -> str:
        """The frame's name in logs, tokens and the journal: `agent/epoch/sequence`."""
        return f"{self.agent}/{self.epoch}/{self.sequence}"

    @property
    def rows(self) -> int:
        """Number of rows over all types."""
        columns = (self.counters, self.gauges, self.distributions, self.sets)
        return sum(len(c.series) for c in columns) // 4


class _Outline(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A frame with its strings still encoded, so that counts are checked before an object is made of each."""

    version: int
    agent: msgspec.Raw
    epoch: msgspec.Raw
    sequence: msgspec.Raw
    created_ms: msgspec.Raw
    org_id: msgspec.Raw = msgspec.Raw()
    project_id: msgspec.Raw = msgspec.Raw()
    retention_days: msgspec.Raw = msgspec.Raw()
    strings: msgspec.Raw = msgspec.Raw()
    series: SeriesColumns = SeriesColumns()
    counters: Counters = Counters()
    gauges: Gauges = Gauges()
    distributions: Distributions = Distributions()
    sets: Sets = Sets()


#: Enough of a frame, packed, for its first block, which is at most 128 KiB.
_MAX_BLOCK_BYTES: Final = 160 << 10
#: Enough of a frame for its fields before `strings`: the agent's name is the only long one.
_HEAD_BYTES: Final = 4_096
_encoder = msgspec.msgpack.Encoder()
_outline_decoder = msgspec.msgpack.Decoder(_Outline)
_decoder = msgspec.msgpack.Decoder(Frame)

# Bytes of one entry, by column; the first column of a group sets the group's length.
_WIDTHS: Final[dict[type[msgspec.Struct], Mapping[str, int]]] = {
    Counters: {"series": 4, "bucket": 4, "value": 8},
    Gauges: {
        "series": 4, "bucket": 4, "last_ms": 8, "last": 8, "min": 8, "max": 8, "sum": 8, "count": 8,
    },
    Distributions: {
        "series": 4, "bucket": 4, "count": 8, "sum": 8, "sum_squares": 8, "min": 8, "max": 8, "zero": 8,
        "positive_length": 4, "negative_length": 4,
    },
    Sets: {"series": 4, "bucket": 4, "length": 4},
}  # fmt: skip


def encode(frame: Frame) -> bytes:
    """Return the compressed bytes of a frame."""
    return zstd.compress(_encoder.encode(frame), options=_COMPRESSION)


def unpacked_bytes(data: bytes, max_bytes: int = MAX_FRAME_BYTES) -> int:
    """Return the unpacked size that `data` declares, `max_bytes` if it declares none.

    Raises FrameError when it declares more than `max_bytes`, or is not zstd.
    """
    try:
        size = zstd.get_frame_info(data).decompressed_size
    except zstd.ZstdError as e:
        raise FrameError(f"not zstd: {e}") from None
    if size is None:
        return max_bytes
    if size > max_bytes:
        raise FrameError(f"{size} bytes when unpacked: at most {max_bytes} are accepted")
    return size


def org_of(data: bytes) -> int:
    """Return the org that a frame names, without unpacking the rest; 0 where its first bytes name none."""
    try:
        head = zstd.ZstdDecompressor().decompress(data[:_MAX_BLOCK_BYTES], max_length=_HEAD_BYTES)
        at = _start_of("org_id", head)
        size = None if at is None else _size_of(head[at : at + 5])
        found = msgspec.msgpack.decode(head[at : at + size]) if at is not None and size else 0
    except (zstd.ZstdError, msgspec.DecodeError, UnicodeDecodeError):
        return 0
    return found if isinstance(found, int) else 0


def decode(data: bytes, max_bytes: int = MAX_FRAME_BYTES) -> Frame:
    """Decode the frame in `data`, and check its column lengths against each other.

    Raises FrameError, and nothing else, for anything that is not a frame of a known version. Index ranges
    (`series`, `name`, `tag_key`, `tag_value`) are for the reader to check, which has them as arrays.
    """
    try:
        decompressor = zstd.ZstdDecompressor()
        raw = decompressor.decompress(data, max_length=max_bytes)
    except zstd.ZstdError as e:
        raise FrameError(f"not zstd: {e}") from None
    if not decompressor.eof:
        raise FrameError(f"cut short, or more than {max_bytes} bytes when unpacked")
    if decompressor.unused_data:
        raise FrameError(f"{len(decompressor.unused_data)} bytes after the end")
    try:
        _check_strings(raw)
        outline = _outline_decoder.decode(raw)
        _check_counts(outline)
        frame = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise FrameError(str(e)) from None
    if frame.version != VERSION:
        raise FrameError(f"version {frame.version}: expected {VERSION}")
    for columns in (frame.counters, frame.gauges, frame.distributions, frame.sets):
        _check_lengths(columns)
    _check_tags(frame.series)
    _check_ragged(frame.distributions, "positive_length", {"positive_index": 4, "positive_count": 8})
    _check_ragged(frame.distributions, "negative_length", {"negative_index": 4, "negative_count": 8})
    _check_ragged(frame.sets, "length", {"member": 8})
    return frame


def _check_strings(raw: bytes) -> None:
    """Refuse more strings than can be used, by the header of their array, because skipping them takes time.

    A string takes at least one byte here and one index of four bytes in a column. Data that cannot be a frame
    is left to the decoder.
    """
    at = _start_of("strings", raw)
    if at is None:
        return
    count = _array_length(msgspec.Raw(raw[at : at + 5]))
    if count > MAX_STRINGS or 5 * count > len(raw):
        raise FrameError(
            f"strings: {count} strings: at most {min(MAX_STRINGS, len(raw) // 5)} are accepted in a frame of"
            f" {len(raw)} bytes"
        )


def _start_of(field: str, raw: bytes) -> int | None:
    """Return where a field of a frame begins that only numbers and strings precede; None where others do."""
    at = {0xDC: 3, 0xDD: 5}.get(raw[0], 1) if raw else 1
    for _ in range(Frame.__struct_fields__.index(field)):
        size = _size_of(raw[at : at + 5])
        if size is None:
            return None
        at += size
    return at


def _size_of(head: bytes) -> int | None:
    """Return the size of an integer or string from its header; None for anything else. Source: msgpack."""
    match head[0] if head else None:
        case int() as kind if kind <= 0x7F or kind >= 0xE0:
            return 1
        case int() as kind if 0xA0 <= kind <= 0xBF:
            return 1 + (kind & 0x1F)
        case int() as kind if 0xCC <= kind <= 0xCF or 0xD0 <= kind <= 0xD3:
            return 1 + (1 << (kind & 3))
        case 0xD9 | 0xDA | 0xDB as kind:
            width = 1 << (kind - 0xD9)
            return 1 + width + int.from_bytes(head[1 : 1 + width], "big")
    return None


def _check_counts(outline: _Outline) -> None:
    """Refuse more rows, series or strings than a frame can use, before an object is made of each."""
    kinds = (outline.counters, outline.gauges, outline.distributions, outline.sets)
    rows = sum(len(columns.series) for columns in kinds) // 4
    if rows > MAX_ROWS:
        raise FrameError(f"{rows} rows: at most {MAX_ROWS} are accepted in a frame")
    series = len(outline.series.name) // 4
    if series > rows:
        raise FrameError(f"Series: {series} series, {rows} rows: expected a row for each series")
    used = series + (len(outline.series.tag_key) + len(outline.series.tag_value)) // 4
    if (strings := _array_length(outline.strings)) > used:
        raise FrameError(f"strings: {strings} strings: at most {used} can be used")


def _array_length(raw: msgspec.Raw) -> int:
    """Return the length of an array from its msgpack header; 0 for anything the decoder refuses."""
    head = bytes(memoryview(raw)[:5])
    match head[0] if head else 0:
        case kind if 0x90 <= kind <= 0x9F:
            return kind & 0x0F
        case 0xDC:
            return int.from_bytes(head[1:3], "big")
        case 0xDD:
            return int.from_bytes(head[1:5], "big")
    return 0


def _check_lengths(columns: msgspec.Struct) -> None:
    widths = _WIDTHS[type(columns)]
    rows = len(columns.series) // 4  # type: ignore[attr-defined]
    for name, width in widths.items():
        if len(getattr(columns, name)) != rows * width:
            raise FrameError(
                f"{type(columns).__name__}.{name}: {len(getattr(columns, name))} bytes, "
                f"expected {rows * width} for {rows} rows"
            )


def _check_tags(series: SeriesColumns) -> None:
    count = len(series.name) // 4
    if len(series.name) != count * 4 or len(series.tag_count) != count * 2:
        raise FrameError(f"Series: {len(series.name)} bytes of name, {len(series.tag_count)} of tag_count")
    tags = sum(memoryview(series.tag_count).cast("H"))
    if len(series.tag_key) != tags * 4 or len(series.tag_value) != tags * 4:
        raise FrameError(
            f"Series: {len(series.tag_key)} bytes of tag_key, expected {tags * 4} for {tags} tags"
        )


def _check_ragged(columns: msgspec.Struct, length: str, widths: Mapping[str, int]) -> None:
    total = sum(memoryview(getattr(columns, length)).cast("I"))
    for name, width in widths.items():
        if len(getattr(columns, name)) != total * width:
            raise FrameError(
                f"{type(columns).__name__}.{name}: {len(getattr(columns, name))} bytes, "
                f"expected {total * width} for {total} entries"
            )
