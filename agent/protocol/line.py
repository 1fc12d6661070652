r"""The line grammar: parses the bytes of one StatsD line into its samples, or the reason for refusing it.

`name:value|type|@sample_rate|#tag:value,tag|T<unix seconds>|c:<container>|e:<external>|card:<cardinality>`

Owns the meaning of a line; docs/wire-format.md is its summary for users. Sources: etsy StatsD for the four
basic types and for gauge deltas, DogStatsD for the fields (1.0 tags, 1.1 packed values, 1.2 `|c:`, 1.3 `|T`,
and the later `|e:` and `|card:`), statsd_exporter's parser for tags in names. Where they differ or are
silent:

* The name ends at the first `:`, except of sets, where `:` belongs to the member, at the first that is not
  followed by a word and another `:`. So names of recorded series work (`job:errors:rate5m:2|g`): a word has
  ASCII letters, digits and `_`, begins with no digit, and is not nan, inf or infinity. No value is a word.
* Names, tag keys and tag values are kept as sent (UTF-8), odd characters too.
* Types: `c`, `g`, `s`, `ms`; `h` and `d` (DogStatsD); `m`, a meter, is a counter (statsd_spec, netdata; etsy
  treats any unknown type as a counter, we refuse it). Anything else is refused, also with blanks around it.
* Packed values (`name:1:2:3|d`, DogStatsD 1.1) for all types except sets, where `:` belongs to the member.
  One bad value refuses the whole line.
* Further samples of one name (`name:1|ms:2|ms|@0.5:3|c`; etsy, statsd_exporter, Telegraf; Kamon sends it) are
  separate lines (agent/protocol/further_samples.py).
* A signed gauge value is a delta depending on `gauge_deltas`: `signed`: `+` and `-` (etsy StatsD); `plus`:
  `+` alone; `never` (DogStatsD has no deltas); `auto`: never on a line with DogStatsD's marks (`|#`, `|c:`,
  `|e:`, `|card:`), else as `signed`. A value with a `|T` is never a delta (DogStatsD 1.3).
* Names and tag keys with control characters (Unicode's category Cc: U+0000 to U+001F, U+007F to U+009F) are
  refused, unless `control_characters` accepts them. Tag values and members of sets are kept as sent.
* A sample rate is in (0, 1]; counters and distributions count 1/rate, gauges and sets ignore it (DogStatsD;
  etsy scales counters only, and a timer's count). Of two rates the last wins.
* `|T` is whole Unix seconds, on all types (DogStatsD: counters and gauges), at most one.
* A tag without `:` has the value "true" (as in Telegraf). A tag with an empty value is left out, since an
  empty label equals no label in Prometheus. Of tags with the same key the last wins (as in statsd_exporter).
  One `#` before a tag is not part of it (`|#a:1,#b:2`; statsd_exporter: a PHP client).
* Fields after the type come in any order; `|#` may be repeated. `|c:`, `|e:` and `|card:` are accepted and
  not kept. Unknown fields, and empty ones (`|c||#a`), are ignored and counted (DogStatsD).
* Numbers are decimal: no nan, inf, hex, blanks or underscores, and no overflow of a 64-bit float, even
  multiplied by a mapping's scale and 1/rate. Negative counters and timers are valid values.
* A line may end with `\r`. Events (`_e{`) and service checks (`_sc|`) are recognised and skipped.
* Tags in the name, if a setting (`name_tags`) allows them (agent/protocol/line_name.py).

Pure, and the reference for any faster parser.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, Literal

import msgspec

from agent.protocol.line_name import NameTags, has_control_character, name_bytes, split_name_tags

NUMBER_BYTES: Final = b"0123456789.+-eE"
MAX_NUMBER: Final = 1.7976931348623157e308
BARE_TAG_VALUE: Final = "true"
_MAX_TIME_DIGITS: Final = 15
#: Prefixes of fields that only DogStatsD has.
_MARKS: Final = (b"#", b"c:", b"e:", b"card:")
_DELTA_SIGNS: Final = {"signed": b"+-", "plus": b"+", "never": b""}


class Kind(enum.Enum):
    """The four metric types; `h` and `ms` are distributions too."""

    COUNTER = "counter"
    GAUGE = "gauge"
    DISTRIBUTION = "distribution"
    SET = "set"


KINDS: Final = {
    b"c": Kind.COUNTER,
    b"m": Kind.COUNTER,
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
    MIXED_TAG_STYLES = "mixed_tag_styles"  # tags in the name, and a `|#` field
    CONTROL_CHARACTER = "control_character"  # in the name or the key of a tag
    CUT_OFF = "cut_off"  # a datagram or stream that ended within the line (counted by the listeners)


class Skip(enum.Enum):
    """Well-formed lines without a metric for us."""

    EMPTY = "empty"
    EVENT = "event"
    SERVICE_CHECK = "service_check"
    MAPPING = "mapping"  # a rule of the mapping file drops it


class Ignored(enum.Enum):
    """Parts of a good line that were left out; labels of `meterhouse_agent_ignored_fields_total`."""

    UNKNOWN_FIELD = "unknown_field"
    EMPTY_TAG = "empty_tag"  # no key, or nothing after the `:`
    DUPLICATE_TAG = "duplicate_tag"  # an earlier one of the same key
    MALFORMED_TAG = "malformed_tag"  # in a name: no `=`, or an unmatched bracket


class BadLine(msgspec.Struct, frozen=True):
    """A refused line."""

    reason: Reason


GaugeDeltas = Literal["auto", "signed", "plus", "never"]
TimerUnit = Literal["ms", "s"]

#: Divisors of values of type `ms`. Division is exact to the last bit, `* 0.001` is not.
TIMER_DIVISORS: Final[Mapping[TimerUnit, float]] = {"ms": 1.0, "s": 1000.0}
_TIMER: Final = b"ms"
_LAST_DIGIT: Final = ord("9")


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[agent.lines]`: tag styles, and bounds beyond which a line is refused, not cut."""

    #: Bytes of one line.
    max_line_bytes: Annotated[int, msgspec.Meta(ge=64, le=1 << 20)] = 65_536
    #: Bytes of a metric name.
    max_name_bytes: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 512
    #: Tags of one line.
    max_tags: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 64
    #: Bytes of one tag, key and value.
    max_tag_bytes: Annotated[int, msgspec.Meta(ge=2, le=65_536)] = 1_024
    #: Tags in names, besides `|#`: influx (`n,k=v:1|c`), librato (`n#k=v:1|c`), signalfx (`n[k=v]:1|c`).
    name_tags: tuple[NameTags, ...] = ()
    #: Signs that make a gauge's value a delta: signed (`+` and `-`, as etsy's StatsD), plus (`+` only),
    #: never, or auto: never on lines with a mark of DogStatsD (`|#`, `|c:`, `|e:`, `|card:`), else signed.
    #: A value with a `|T` is never a delta.
    gauge_deltas: GaugeDeltas = "auto"
    #: Accept control characters in names and keys of tags; otherwise such lines are refused and counted.
    control_characters: bool = False
    #: Unit of stored values of type `ms`: `ms` as sent, or `s`: divided by 1,000. A mapping overrides it.
    timer_unit: TimerUnit = "ms"


class MetricKey(msgspec.Struct, frozen=True):
    """The parts of a line except its values and time: common to all lines of a series."""

    kind: Kind
    name: str
    tags: tuple[tuple[str, str], ...]  # sorted by key, each key once
    weight: float = 1.0  # 1 / sample rate; 1 for gauges and sets
    ignored: tuple[Ignored, ...] = ()
    marked: bool = False  # has a field that only DogStatsD has
    delta_signs: bytes = b"+-"  # first bytes that make a gauge's value a delta
    scale: float = 1.0  # a mapping's factor on each value, before its weight; 1 for sets
    timer: bool = False  # sent as `ms`
    divisor: float = 1.0  # each value is divided by it before it is scaled: timers in seconds

    def scaled(self, value: float) -> float:
        """Convert a value as sent to the stored value."""
        return value / self.divisor * self.scale

    @property
    def as_sent(self) -> bool:
        """True if values are stored as sent."""
        return self.scale == 1.0 and self.divisor == 1.0


class Line(msgspec.Struct, frozen=True):
    """A good line. Sets have a `member`, all others one or more `values` (times the head's scale)."""

    head: MetricKey
    values: tuple[float, ...] = ()
    #: One flag per value of a gauge: whether it is a delta to the gauge's last value.
    deltas: tuple[bool, ...] = ()
    member: bytes = b""
    time_s: int | None = None  # Unix seconds of `|T`


# One branch for each kind of field.
def parse_metric_key(name: bytes, rest: bytes, limits: Limits) -> MetricKey | BadLine:
    """Parse the key of a line from its name and everything after the first `|`, without `|T`."""
    kind_bytes, *fields = rest.split(b"|")
    kind = KINDS.get(kind_bytes)
    if kind is None:
        return BadLine(Reason.UNKNOWN_TYPE)
    ignored, tags = list[Ignored](), dict[str, str]()
    if limits.name_tags:
        name, section, paired = split_name_tags(name, limits.name_tags)
        if not paired:
            ignored.append(Ignored.MALFORMED_TAG)
        if bad := _read_tags(section, b"=", tags, ignored, limits) or _bad_mix(name, tags, rest):
            return BadLine(bad)
    if len(name) > limits.max_name_bytes:
        return BadLine(Reason.NAME_TOO_LONG)
    read = _read_fields(fields, tags, ignored, limits)
    if isinstance(read, Reason):
        return BadLine(read)
    weight, marked = read
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return BadLine(Reason.INVALID_UTF8)
    if not limits.control_characters and has_control_character(text):
        return BadLine(Reason.CONTROL_CHARACTER)
    if kind in (Kind.GAUGE, Kind.SET):
        weight = 1.0
    timer = kind_bytes == _TIMER
    return MetricKey(
        kind, text, tuple(sorted(tags.items())), weight, tuple(ignored),
        marked=marked, delta_signs=delta_signs(limits.gauge_deltas, marked=marked),
        timer=timer, divisor=TIMER_DIVISORS[limits.timer_unit] if timer else 1.0,
    )  # fmt: skip


def _read_fields(
    fields: Sequence[bytes], tags: dict[str, str], ignored: list[Ignored], limits: Limits
) -> tuple[float, bool] | Reason:
    """Add the fields' tags; return weight and whether a field is DogStatsD's, or the reason to refuse."""
    weight, marked = 1.0, False
    for field in fields:
        marked = marked or field.startswith(_MARKS)
        if field.startswith(b"#"):
            if bad := _read_tags(field[1:], b":", tags, ignored, limits):
                return bad
        elif field.startswith(b"@"):
            found = _weight(field[1:])
            if found is None:
                return Reason.BAD_SAMPLE_RATE
            weight = found
        elif not field.startswith(_MARKS):
            ignored.append(Ignored.UNKNOWN_FIELD)
    return weight, marked


def delta_signs(deltas: GaugeDeltas, *, marked: bool) -> bytes:
    """Return the first bytes that make a gauge's value a delta; `marked`: the line has DogStatsD's marks."""
    if deltas == "auto":
        deltas = "never" if marked else "signed"
    return _DELTA_SIGNS[deltas]


def _bad_mix(name: bytes, tags: dict[str, str], rest: bytes) -> Reason | None:
    if tags and b"|#" in rest:
        return Reason.MIXED_TAG_STYLES
    return None if name else Reason.EMPTY_NAME


def _weight(text: bytes) -> float | None:
    rate = number(text)
    if rate is None or not 0.0 < rate <= 1.0:
        return None
    weight = 1.0 / rate
    return weight if weight <= MAX_NUMBER else None


def _read_tags(
    section: bytes, separator: bytes, tags: dict[str, str], ignored: list[Ignored], limits: Limits
) -> Reason | None:
    """Add the tags of a `#` field (`:`) or of a name (`=`); return the reason to refuse the line, if any."""
    for sent in section.split(b","):
        part = sent[1:] if separator == b":" and sent.startswith(b"#") else sent
        if not part:
            continue
        if len(part) > limits.max_tag_bytes:
            return Reason.TAG_TOO_LONG
        try:
            key, found, value = part.decode().partition(separator.decode())
        except UnicodeDecodeError:
            return Reason.INVALID_UTF8
        if not key or (found and not value):
            ignored.append(Ignored.EMPTY_TAG)
            continue
        if not limits.control_characters and has_control_character(key):
            return Reason.CONTROL_CHARACTER
        if not found and separator == b"=":
            ignored.append(Ignored.MALFORMED_TAG)
            continue
        if key in tags:
            ignored.append(Ignored.DUPLICATE_TAG)
        elif len(tags) >= limits.max_tags:
            return Reason.TOO_MANY_TAGS
        tags[key] = value if found else BARE_TAG_VALUE
    return None


def number(text: bytes) -> float | None:
    """Return the finite decimal number in `text`, or None."""
    if text.strip(NUMBER_BYTES):  # keeps nan, inf, hex, blanks and underscores away from float()
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if -MAX_NUMBER <= value <= MAX_NUMBER else None


def split_time(rest: bytes) -> tuple[bytes, int | None] | BadLine:
    """Split `rest` (all after the first `|`) into the text without `|T`, and that field's Unix seconds."""
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
    head_of: Callable[[bytes, bytes, Limits], MetricKey | BadLine | Skip] = parse_metric_key,
) -> Line | BadLine | Skip:
    """Parse one line without its newline; a trailing carriage return is removed.

    `head_of` may cache the results of `parse_metric_key` (lines of a series differ mostly in their values),
    and apply a mapping.
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
    if raw[0] > _LAST_DIGIT and b":" in raw:  # no number, as nearly never
        end = name_bytes(front, rest)
        name, raw = front[:end], front[end + 1 :]
    timed = split_time(rest)
    if isinstance(timed, BadLine):
        return timed
    head = head_of(name, timed[0], limits)
    if not isinstance(head, MetricKey):
        return head
    return _with_values(head, raw, timed[1])


def _missing(colon: bytes, name: bytes, bar: bytes) -> Reason:
    if not colon:
        return Reason.NO_VALUE
    if not name:
        return Reason.EMPTY_NAME
    return Reason.EMPTY_VALUE if bar else Reason.NO_TYPE


def _with_values(head: MetricKey, raw: bytes, time_s: int | None) -> Line | BadLine:
    if head.kind is Kind.SET:
        return Line(head, member=raw, time_s=time_s)
    values, deltas = list[float](), list[bool]()
    for part in raw.split(b":"):
        value = number(part)
        if value is None or not -MAX_NUMBER <= head.scaled(value) * head.weight <= MAX_NUMBER:
            return BadLine(Reason.BAD_VALUE if part else Reason.EMPTY_VALUE)
        values.append(head.scaled(value))
        deltas.append(time_s is None and part[0] in head.delta_signs)
    return Line(head, tuple(values), tuple(deltas) if head.kind is Kind.GAUGE else (), time_s=time_s)
