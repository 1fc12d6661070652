"""Results of a core: the rows of its frames, bit for bit, and its counters, as values to compare."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

from agent.core.interface import Core, KeyMapper
from agent.core.python_core import PythonCore
from agent.protocol.line import Kind
from agent.settings import AgentSettings
from agent.wire.frame import Frame, Sender, decode, encode

#: (type, name, tags, bucket) and the columns; floats as their 64 bits.
Row = tuple[str, str, tuple[tuple[str, str], ...], int, tuple[Any, ...]]

CORES: Final = ("python", "native")
_SENDER: Final = Sender(agent="test", epoch=1)


def new_core(
    name: str,
    settings: AgentSettings,
    mapper: KeyMapper | None = None,
    wake: Callable[[], None] = lambda: None,
) -> Core:
    """Return a core by its name in `CORES`."""
    if name == "python":
        return PythonCore(settings, mapper, wake)
    core: Core = importlib.import_module("agent.core._native.core").NativeCore(settings, mapper, wake)
    return core


def counters(core: Core) -> dict[str, Any]:
    """Return the numbers that both cores must agree on, without those that are 0.

    Not `remembered_series`: Python counts those that only cells of a bucket still hold, too.
    """
    stats = core.stats
    return {
        "lines": stats.lines,
        "bad": {reason.value: n for reason, n in stats.bad.items() if n},
        "skipped": {skip.value: n for skip, n in stats.skipped.items() if n},
        "ignored": {ignored.value: n for ignored, n in stats.ignored.items() if n},
        "clamped": (stats.clamped_old, stats.clamped_future),
        "overflow": stats.overflow_lines,
        "early_flushes": stats.early_flushes,
        "forgotten_heads": core.forgotten_heads,
        "entries": core.entries,
        "live_series": core.live_series,
    }


def take_rows(core: Core, max_rows: int = 1_000, max_bytes: int = 1 << 20) -> dict[str, list[Row]]:
    """All rows that were flushed, by type, in the order of the frames, as an indexer would read them."""
    out: dict[str, list[Row]] = {kind.value: [] for kind in Kind}
    sequence = 1
    while frame := core.next_frame(_SENDER, sequence, 5, max_rows=max_rows, max_bytes=max_bytes):
        read = decode(encode(frame))
        assert (read.sequence, read.epoch, read.created_ms) == (sequence, 1, 5)
        assert 0 < read.rows <= max_rows
        assert len(set(read.strings)) == len(read.strings)
        for row in rows_of(read):
            out[row[0]].append(row)
        sequence += 1
    return out


def rows_of(frame: Frame) -> Iterator[Row]:
    """All rows of a decoded frame."""
    series = _series(frame)
    for kind, columns in (
        (Kind.COUNTER, frame.counters),
        (Kind.GAUGE, frame.gauges),
        (Kind.DISTRIBUTION, frame.distributions),
        (Kind.SET, frame.sets),
    ):
        values = zip(*(_column(columns, name) for name in _COLUMNS[kind]), strict=True)
        for index, bucket, state in zip(
            _cast(columns.series, "I"), _cast(columns.bucket, "I"), values, strict=True
        ):
            yield (kind.value, *series[index], bucket, state)


_COLUMNS: Final = {
    Kind.COUNTER: ("value",),
    Kind.GAUGE: ("last_ms", "last", "min", "max", "sum", "count"),
    Kind.DISTRIBUTION: (
        "count", "sum", "sum_squares", "min", "max", "zero",
        "positive_index", "positive_count", "negative_index", "negative_count",
    ),
    Kind.SET: ("member",),
}  # fmt: skip
#: Columns of several entries a row: the column of their lengths, and the type of an entry.
_RAGGED: Final[dict[str, tuple[str, Literal["i", "Q"]]]] = {
    "positive_index": ("positive_length", "i"),
    "positive_count": ("positive_length", "Q"),
    "negative_index": ("negative_length", "i"),
    "negative_count": ("negative_length", "Q"),
    "member": ("length", "Q"),
}


def _column(columns: Any, name: str) -> list[Any]:
    if name not in _RAGGED:
        return _cast(getattr(columns, name), "Q")
    length, code = _RAGGED[name]
    flat, out, at = _cast(getattr(columns, name), code), [], 0
    for entries in _cast(getattr(columns, length), "I"):
        out.append(tuple(flat[at : at + entries]))
        at += entries
    return out


def _series(frame: Frame) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    s, out, at = frame.series, [], 0
    keys = [frame.strings[i] for i in _cast(s.tag_key, "I")]
    values = [frame.strings[i] for i in _cast(s.tag_value, "I")]
    for name, count in zip(_cast(s.name, "I"), _cast(s.tag_count, "H"), strict=True):
        tags = tuple(zip(keys[at : at + count], values[at : at + count], strict=True))
        out.append((frame.strings[name], tags))
        at += count
    return out


def _cast(column: bytes, code: Literal["H", "I", "i", "Q"]) -> list[int]:
    assert sys.byteorder == "little"
    return memoryview(column).cast(code).tolist()
