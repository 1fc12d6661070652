"""CSV: a header, then one sample per line: columns name, type, value, timestamp, and optionally tags.

* Columns come in any order; others are ignored, and counted once.
* `type`: a StatsD type (`c`, `m`, `g`, `d`, `h`, `ms`, `s`) or `counter`, `gauge`, `distribution`, `set`. The
  value of a counter is a delta.
* `timestamp`: Unix seconds, optionally with decimals. `tags`: `key:value,key:value`, quoted.
* A record is one line: a line break within quotes is bad, so that a missing quote costs one line.

Pure.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from agent.aggregate.aggregator import Aggregator
from agent.backfill.metric_keys import metric_key
from agent.backfill.samples import LeftOut, Sample
from agent.protocol.line import BARE_TAG_VALUE, KINDS, Kind, Limits, Line, MetricKey, Reason, number

_NEEDED: Final = ("name", "type", "value", "timestamp")
_COLUMNS: Final = (*_NEEDED, "tags")
_KINDS: Final[Mapping[str, Kind]] = {
    **{name.decode(): kind for name, kind in KINDS.items()},
    **{kind.value: kind for kind in Kind},
}


class CsvConverter:
    """Uses the first line as the header; without a valid one, all lines are bad."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._header: list[str] | None = None
        self._usable = False

    def convert(self, line: bytes, aggregator: Aggregator) -> Iterator[Sample | LeftOut]:  # noqa: ARG002
        """Convert a record; the first line is the header."""
        line = line.removesuffix(b"\r")
        if not line:
            return
        cells = self._cells(line)
        if isinstance(cells, LeftOut):
            yield cells
        elif self._header is None:
            yield from self._take_header(cells)
        elif not self._usable:
            yield LeftOut("no_header")
        elif len(cells) != len(self._header):
            yield LeftOut("bad_columns")
        else:
            yield self._record(dict(zip(self._header, cells, strict=True)))

    def end(self) -> Iterable[LeftOut]:
        """Report a missing header."""
        return () if self._usable else (LeftOut("no_header"),)

    def _cells(self, line: bytes) -> list[str] | LeftOut:
        if len(line) > self._limits.max_line_bytes:
            return LeftOut(Reason.LINE_TOO_LONG.value)
        try:
            (cells,) = csv.reader([line.decode("utf-8-sig")], strict=True)
        except UnicodeDecodeError:
            return LeftOut(Reason.INVALID_UTF8.value)
        except (csv.Error, ValueError):
            return LeftOut("bad_csv")
        return cells

    def _take_header(self, cells: list[str]) -> Iterator[LeftOut]:
        self._header = [cell.strip().lower() for cell in cells]
        self._usable = set(_NEEDED) <= set(self._header) and len(set(self._header)) == len(self._header)
        if not self._usable:
            yield LeftOut("no_header")
            return
        for name in self._header:
            if name not in _COLUMNS:
                yield LeftOut(f"column {name!r}", bad=False)

    def _record(self, cells: Mapping[str, str]) -> Sample | LeftOut:
        kind = _KINDS.get(cells["type"].strip())
        if kind is None:
            return LeftOut(Reason.UNKNOWN_TYPE.value)
        seconds = number(cells["timestamp"].strip().encode())
        if seconds is None or not 0 <= seconds < 1e12:
            return LeftOut(Reason.BAD_TIMESTAMP.value if cells["timestamp"].strip() else "no_timestamp")
        head = metric_key(kind, cells["name"], _tags(cells.get("tags", "")), self._limits)
        if isinstance(head, Reason):
            return LeftOut(head.value)
        line = _line(head, cells["value"])
        return LeftOut(line.value) if isinstance(line, Reason) else Sample(line, round(seconds * 1000))


def _line(head: MetricKey, raw: str) -> Line | Reason:
    if not raw:
        return Reason.EMPTY_VALUE
    if head.kind is Kind.SET:
        return Line(head, member=raw.encode())
    value = number(raw.strip().encode())
    if value is None:
        return Reason.BAD_VALUE
    return Line(head, (value,), (False,) if head.kind is Kind.GAUGE else ())


def _tags(text: str) -> dict[str, str]:
    """Parse the tags of a cell; one without `:` is true, as in a line."""
    tags: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, colon, value = part.partition(":")
        if key:
            tags[key] = value if colon else BARE_TAG_VALUE
    return tags
