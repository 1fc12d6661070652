"""The line grammar: bytes of one StatsD line in, its samples or the reason why not out.

`name:value|type|@sample_rate|#tag:value,tag|T<unix seconds>|c:<container>|e:<external>|card:<cardinality>`

Owns what a line means; docs/wire-format.md is its summary for users. Sources: etsy StatsD for the four basic
types and for gauge deltas, DogStatsD 1.0-1.3 for the rest. Where they differ or are silent:

* The name ends at the first `:`. Names, tag keys and tag values are kept as sent (UTF-8), odd characters too.
* Packed values (`name:1:2:3|d`, DogStatsD 1.1) for all types but sets, where `:` belongs to the member. One
  bad value refuses the whole line.
* A signed gauge value is a delta (StatsD), unless the line has a `|T`: then it is a value of its own, as
  DogStatsD 1.3 says of lines with a time. So negative values can be set, with a `|T`.
* A sample rate is in (0, 1]; counters and distributions count 1/rate, gauges and sets ignore it.
* A tag without `:` has the value "true" (as in Telegraf). A tag with an empty value is left out, since an
  empty label and no label are the same to Prometheus. Of tags with one key the last wins (as in
  statsd_exporter).
* Fields after the type come in any order. Unknown ones are ignored and counted.
* Numbers are decimal: no nan, inf, hex, blanks or underscores; nothing that overflows a 64-bit float, nor
  does so when multiplied by 1/rate.

Pure, and the oracle of any faster parser.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Annotated, Final

import msgspec

NUMBER_BYTES: Final = b"0123456789.+-eE"
MAX_NUMBER: Final = 1.7976931348623157e308
BARE_TAG_VALUE: Final = "true"
_MAX_TIME_DIGITS: Final = 15


class Kind(enum.Enum):
    """The four metric types; `h` and `ms` are distributions too."""

    COUNTER = "counter"
    GAUGE = "gauge"
    DISTRIBUTION = "distribution"
    SET = "set"


KINDS: Final = {
    b"c": Kind.COUNTER,
    b"g": Kind.GAUGE,
    b"d": Kind.DISTRIBUTION,
    b"h": Kind.DISTRIBUTION,
    b"ms": Kind.DISTRIBUTION,
    b"s": Kind.SET,
}


class Reason(enum.Enum):
    """Why a line was refused; the values are labels of `meterhouse_agent_bad_lines_total`."""

    NO_VALUE = "no_value"  # no `:`
    EMPTY_NAME = "empty_name"
    EMPTY_VALUE = "empty_value"
    BAD_VALUE = "bad_value"  # not a decimal number, or too large for a float
    NO_TYPE = "no_type"  # no `|`
    UNKNOWN_TYPE = "unknown_type"
    BAD_SAMPLE_RATE = "bad_sample_rate"
    BAD_TIMESTAMP = "bad_timestamp"
    INVALID_UTF8 = "invalid_utf8"
    LINE_TOO_LONG = "line_too_long"
    NAME_TOO_LONG = "name_too_long"
    TAG_TOO_LONG = "tag_too_long"
    TOO_MANY_TAGS = "too_many_tags"
    CUT_OFF = "cut_off"  # a datagram or stream that ended within the line (counted by the listeners)


class Skip(enum.Enum):
    """Lines that are well-formed but carry no metric."""

    EMPTY = "empty"
    EVENT = "event"
    SERVICE_CHECK = "service_check"


class Ignored(enum.Enum):
    """Parts of a good line that were left out; labels of `meterhouse_agent_ignored_fields_total`."""

    UNKNOWN_FIELD = "unknown_field"
    EMPTY_TAG = "empty_tag"  # no key, or nothing after the `:`
    DUPLICATE_TAG = "duplicate_tag"  # an earlier one of the same key


class BadLine(msgspec.Struct, frozen=True):
    """A refused line."""

    reason: Reason


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of one line, section `[agent.lines]`; beyond them the line is refused, not cut."""

    #: Bytes of one line.
    max_line_bytes: Annotated[int, msgspec.Meta(ge=64, le=1 << 20)] = 65_536
    #: Bytes of a metric name.
    max_name_bytes: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 512
    #: Tags of one line.
    max_tags: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 64
    #: Bytes of one tag, key and value.
    max_tag_bytes: Annotated[int, msgspec.Meta(ge=2, le=65_536)] = 1_024


class Head(msgspec.Struct, frozen=True):
    """All of a line but its values and its time: what lines of one series have in common."""

    kind: Kind
    name: str
    tags: tuple[tuple[str, str], ...]  # sorted by key, each key once
    weight: float = 1.0  # 1 / sample rate; 1 for gauges and sets
    ignored: tuple[Ignored, ...] = ()


class Line(msgspec.Struct, frozen=True):
    """A good line. Sets have a `member`, all others one or more `values`."""

    head: Head
    values: tuple[float, ...] = ()
    #: One flag per value of a gauge: is it a delta to the gauge's last value?
    deltas: tuple[bool, ...] = ()
    member: bytes = b""
    time_s: int | None = None  # Unix seconds of `|T`


def parse_head(name: bytes, rest: bytes, limits: Limits) -> Head | BadLine:
    """The head of a line from its name and all that follows the first `|`, without `|T`."""
    kind_bytes, *fields = rest.split(b"|")
    kind = KINDS.get(kind_bytes)
    if kind is None:
        return BadLine(Reason.UNKNOWN_TYPE)
    if len(name) > limits.max_name_bytes:
        return BadLine(Reason.NAME_TOO_LONG)
    weight, ignored, tags = 1.0, list[Ignored](), dict[str, str]()
    for field in fields:
        if field.startswith(b"#"):
            if bad := _read_tags(field[1:], tags, ignored, limits):
                return BadLine(bad)
        elif field.startswith(b"@"):
            found = _weight(field[1:])
            if found is None:
                return BadLine(Reason.BAD_SAMPLE_RATE)
            weight = found
        elif not field.startswith((b"c:", b"e:", b"card:")):
            ignored.append(Ignored.UNKNOWN_FIELD)
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return BadLine(Reason.INVALID_UTF8)
    if kind in (Kind.GAUGE, Kind.SET):
        weight = 1.0
    return Head(kind, text, tuple(sorted(tags.items())), weight, tuple(ignored))


def _weight(text: bytes) -> float | None:
    rate = number(text)
    if rate is None or not 0.0 < rate <= 1.0:
        return None
    weight = 1.0 / rate
    return weight if weight <= MAX_NUMBER else None


def _read_tags(section: bytes, tags: dict[str, str], ignored: list[Ignored], limits: Limits) -> Reason | None:
    """Adds the tags of one `#` field to `tags`; gives the reason if the line is to be refused."""
    for part in section.split(b","):
        if not part:
            continue
        if len(part) > limits.max_tag_bytes:
            return Reason.TAG_TOO_LONG
        try:
            key, colon, value = part.decode().partition(":")
        except UnicodeDecodeError:
            return Reason.INVALID_UTF8
        if not key or (colon and not value):
            ignored.append(Ignored.EMPTY_TAG)
            continue
        if key in tags:
            ignored.append(Ignored.DUPLICATE_TAG)
        elif len(tags) >= limits.max_tags:
            return Reason.TOO_MANY_TAGS
        tags[key] = value if colon else BARE_TAG_VALUE
    return None


def number(text: bytes) -> float | None:
    """The finite decimal number in `text`, or None."""
    if text.strip(NUMBER_BYTES):  # keeps nan, inf, hex, blanks and underscores away from float()
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if -MAX_NUMBER <= value <= MAX_NUMBER else None


def split_time(rest: bytes) -> tuple[bytes, int | None] | BadLine:
    """`rest` (all after the first `|`) without its `|T` field, and the Unix seconds of that field."""
    start = rest.find(b"|T")
    if start < 0:
        return rest, None
    end = rest.find(b"|", start + 1)
    end = len(rest) if end < 0 else end
    digits, remaining = rest[start + 2 : end], rest[:start] + rest[end:]
    if not digits.isdigit() or len(digits) > _MAX_TIME_DIGITS or b"|T" in remaining:
        return BadLine(Reason.BAD_TIMESTAMP)
    return remaining, int(digits)


def parse_line(
    line: bytes,
    limits: Limits,
    head_of: Callable[[bytes, bytes, Limits], Head | BadLine] = parse_head,
) -> Line | BadLine | Skip:
    """One line, without its newline; a carriage return at its end is taken off.

    `head_of` may remember what `parse_head` says: lines of one series differ in little but their values.
    """
    if line.endswith(b"\r"):
        line = line[:-1]
    if not line:
        return Skip.EMPTY
    if line.startswith(b"_e{"):
        return Skip.EVENT
    if line.startswith(b"_sc|"):
        return Skip.SERVICE_CHECK
    if len(line) > limits.max_line_bytes:
        return BadLine(Reason.LINE_TOO_LONG)
    front, bar, rest = line.partition(b"|")
    name, colon, raw = front.partition(b":")
    if not colon or not name or not bar or not raw:
        return BadLine(_missing(colon, name, bar))
    timed = split_time(rest)
    if isinstance(timed, BadLine):
        return timed
    head = head_of(name, timed[0], limits)
    if isinstance(head, BadLine):
        return head
    return _with_values(head, raw, timed[1])


def _missing(colon: bytes, name: bytes, bar: bytes) -> Reason:
    if not colon:
        return Reason.NO_VALUE
    if not name:
        return Reason.EMPTY_NAME
    return Reason.EMPTY_VALUE if bar else Reason.NO_TYPE


def _with_values(head: Head, raw: bytes, time_s: int | None) -> Line | BadLine:
    if head.kind is Kind.SET:
        return Line(head, member=raw, time_s=time_s)
    values, deltas = list[float](), list[bool]()
    for part in raw.split(b":"):
        value = number(part)
        if value is None or not -MAX_NUMBER <= value * head.weight <= MAX_NUMBER:
            return BadLine(Reason.BAD_VALUE if part else Reason.EMPTY_VALUE)
        values.append(value)
        deltas.append(time_s is None and part.startswith((b"+", b"-")))
    return Line(head, tuple(values), tuple(deltas) if head.kind is Kind.GAUGE else (), time_s=time_s)
