"""The line grammar, as tables: the meaning of each line, and the reason why each bad line is bad."""

from __future__ import annotations

import re
import unicodedata

import msgspec
import pytest

from agent.protocol.further_samples import split_samples
from agent.protocol.line import (
    BadLine,
    GaugeDeltas,
    Ignored,
    Kind,
    Limits,
    Line,
    MetricKey,
    Reason,
    Skip,
    delta_signs,
    number,
    parse_line,
    split_time,
)
from agent.protocol.line_name import NameTags, has_control_character, split_name_tags

LIMITS = Limits()
C, G, D, S = Kind.COUNTER, Kind.GAUGE, Kind.DISTRIBUTION, Kind.SET


def counter(name: str, *values: float, **head: object) -> Line:
    return Line(MetricKey(C, name, **head), values)  # type: ignore[arg-type]


def distribution(name: str, *values: float, **head: object) -> Line:
    return Line(MetricKey(D, name, **head), values)  # type: ignore[arg-type]


def gauge(name: str, *values: float, deltas: tuple[bool, ...] = (), time_s: int | None = None) -> Line:
    return Line(MetricKey(G, name, ()), values, deltas or (False,) * len(values), time_s=time_s)


def tagged(*tags: tuple[str, str], ignored: tuple[Ignored, ...] = ()) -> Line:
    return Line(MetricKey(C, "x", tags, ignored=ignored), (1.0,))


GOOD = {
    # types
    b"x:1|c": counter("x", 1.0, tags=()),
    b"x:1.5|c": counter("x", 1.5, tags=()),
    b"x:-3|c": counter("x", -3.0, tags=()),
    b"x:0|c": counter("x", 0.0, tags=()),
    b"x:2|d": distribution("x", 2.0, tags=()),
    b"x:2|h": distribution("x", 2.0, tags=()),
    b"x:2|ms": distribution("x", 2.0, tags=(), timer=True),
    b"x:2|m": counter("x", 2.0, tags=()),  # a meter (statsd_spec)
    b"x:2|g": gauge("x", 2.0),
    b"x:joe|s": Line(MetricKey(S, "x", ()), member=b"joe"),
    b"x:12|s": Line(MetricKey(S, "x", ()), member=b"12"),
    # numbers
    b"x:+5|c": counter("x", 5.0, tags=()),
    b"x:1e3|c": counter("x", 1000.0, tags=()),
    b"x:1E-3|c": counter("x", 0.001, tags=()),
    b"x:.5|c": counter("x", 0.5, tags=()),
    b"x:5.|c": counter("x", 5.0, tags=()),
    b"x:1.7976931348623157e308|c": counter("x", 1.7976931348623157e308, tags=()),
    b"x:5e-324|d": distribution("x", 5e-324, tags=()),
    b"x:1e-999|d": distribution("x", 0.0, tags=()),
    b"x:0123|c": counter("x", 123.0, tags=()),
    # packed values (DogStatsD 1.1)
    b"x:1:2:3|d": distribution("x", 1.0, 2.0, 3.0, tags=()),
    b"x:1:2|c": counter("x", 1.0, 2.0, tags=()),
    b"x:1:2|ms|@0.5": distribution("x", 1.0, 2.0, tags=(), weight=2.0, timer=True),
    b"x:1:2|g": gauge("x", 1.0, 2.0),
    b"x:a:b:c|s": Line(MetricKey(S, "x", ()), member=b"a:b:c"),
    # gauge deltas (StatsD), and none with a time (DogStatsD 1.3)
    b"x:+2|g": gauge("x", 2.0, deltas=(True,)),
    b"x:-2|g": gauge("x", -2.0, deltas=(True,)),
    b"x:1:+2:-3|g": gauge("x", 1.0, 2.0, -3.0, deltas=(False, True, True)),
    b"x:-2|g|T100": gauge("x", -2.0, deltas=(False,), time_s=100),
    b"x:+2|g|T100": gauge("x", 2.0, deltas=(False,), time_s=100),
    # times
    b"x:1|c|T1700000000": Line(MetricKey(C, "x", ()), (1.0,), time_s=1700000000),
    b"x:1|c|T0": Line(MetricKey(C, "x", ()), (1.0,), time_s=0),
    b"x:1|c|T5|#a:b": Line(MetricKey(C, "x", (("a", "b"),)), (1.0,), time_s=5),
    b"x:u|s|T5": Line(MetricKey(S, "x", ()), member=b"u", time_s=5),
    # sample rates
    b"x:1|c|@0.1": counter("x", 1.0, tags=(), weight=10.0),
    b"x:1|c|@1": counter("x", 1.0, tags=()),
    b"x:1|c|@1e-3": counter("x", 1.0, tags=(), weight=1000.0),
    b"x:1|g|@0.5": gauge("x", 1.0),
    b"x:u|s|@0.5": Line(MetricKey(S, "x", ()), member=b"u"),
    # tags
    b"x:1|c|#a:b": tagged(("a", "b")),
    b"x:1|c|#b:2,a:1": tagged(("a", "1"), ("b", "2")),
    b"x:1|c|#a:b:c": tagged(("a", "b:c")),
    b"x:1|c|#canary": tagged(("canary", "true")),
    b"x:1|c|#": tagged(),
    b"x:1|c|#,a:b,,": tagged(("a", "b")),
    b"x:1|c|#a:": tagged(ignored=(Ignored.EMPTY_TAG,)),
    b"x:1|c|#:v,a:b": tagged(("a", "b"), ignored=(Ignored.EMPTY_TAG,)),
    b"x:1|c|#a:1,a:2": tagged(("a", "2"), ignored=(Ignored.DUPLICATE_TAG,)),
    b"x:1|c|#a:1,#b:2": tagged(("a", "1"), ("b", "2")),  # as a PHP client sends them
    b"x:1|c|##a:1,#,##b": tagged(("#b", "true"), ("a", "1")),
    b"x:1|c|#a:1|#b:2": tagged(("a", "1"), ("b", "2")),
    b"x:1|c|#http.route:/a b/{id}": tagged(("http.route", "/a b/{id}")),
    "x:1|c|#stadt:Köln".encode(): tagged(("stadt", "Köln")),
    b"x:1|c|#a:1=2;3": tagged(("a", "1=2;3")),
    b"x:1|c|#__name__:y": tagged(("__name__", "y")),
    # other fields (DogStatsD 1.2 and later), in any order
    b"x:1|c|c:83c0a99c": tagged(),
    b"x:1|c|e:it-false,cn-x": tagged(),
    b"x:1|c|card:low": tagged(),
    b"x:1|c|c:in-12|#a:b|@0.5|e:q|card:none": counter("x", 1.0, tags=(("a", "b"),), weight=2.0),
    b"x:1|c|@0.5|#a:b": counter("x", 1.0, tags=(("a", "b"),), weight=2.0),
    b"x:1|c|#a:b|@0.5": counter("x", 1.0, tags=(("a", "b"),), weight=2.0),
    b"x:1|c|new:field": tagged(ignored=(Ignored.UNKNOWN_FIELD,)),
    b"x:1|c|": tagged(ignored=(Ignored.UNKNOWN_FIELD,)),
    b"x:1|c|y|z": tagged(ignored=(Ignored.UNKNOWN_FIELD, Ignored.UNKNOWN_FIELD)),
    # names are kept as sent
    b"http.requests:1|c": counter("http.requests", 1.0, tags=()),
    b"a b/c;d=e:1|c": counter("a b/c;d=e", 1.0, tags=()),
    "größe:1|c".encode(): counter("größe", 1.0, tags=()),
    b"_events:1|c": counter("_events", 1.0, tags=()),
    # ends of lines
    b"x:1|c\r": counter("x", 1.0, tags=()),
    b"x:1|c|#a:b\r": tagged(("a", "b")),
    b"x:u|s\r": Line(MetricKey(S, "x", ()), member=b"u"),
}


@pytest.mark.parametrize("line", GOOD)
def test_good_lines(line: bytes) -> None:
    assert parse_line(line, LIMITS) == with_marks(line, GOOD[line])


def with_marks(line: bytes, parsed: Line | BadLine | Skip) -> Line | BadLine | Skip:
    """Return the expected value of a line, with the marks of DogStatsD in its head."""
    if not isinstance(parsed, Line) or not re.search(rb"\|.*\|(#|c:|e:|card:)", line):
        return parsed
    head = msgspec.structs.replace(parsed.head, marked=True, delta_signs=b"")
    return msgspec.structs.replace(parsed, head=head)


@pytest.mark.parametrize(
    ("deltas", "plain", "marked"),
    [("auto", b"+-", b""), ("signed", b"+-", b"+-"), ("plus", b"+", b"+"), ("never", b"", b"")],
)
def test_which_signs_make_a_delta(deltas: GaugeDeltas, plain: bytes, marked: bytes) -> None:
    assert (delta_signs(deltas, marked=False), delta_signs(deltas, marked=True)) == (plain, marked)
    for fields, signs in ((b"", plain), (b"|#a:b", marked), (b"|@0.5", plain), (b"|T5", b"")):
        line = parse_line(b"x:1:+2:-3|g" + fields, Limits(gauge_deltas=deltas))
        assert isinstance(line, Line)
        assert line.deltas == (False, b"+" in signs, b"-" in signs)


def test_control_characters_are_those_of_unicode() -> None:
    for code in range(0x250):
        assert has_control_character(f"a{chr(code)}b") == (unicodedata.category(chr(code)) == "Cc")


BAD = {
    b"x": Reason.NO_VALUE,
    b"x|c": Reason.NO_VALUE,
    b"garbage with blanks": Reason.NO_VALUE,
    b":1|c": Reason.EMPTY_NAME,
    b":": Reason.EMPTY_NAME,
    b"x:|c": Reason.EMPTY_VALUE,
    b"x:|s": Reason.EMPTY_VALUE,
    b"x:1:|c": Reason.EMPTY_VALUE,
    b"x::1|d": Reason.EMPTY_VALUE,
    b"x:": Reason.NO_TYPE,
    b"x:1": Reason.NO_TYPE,
    b"x:1|": Reason.UNKNOWN_TYPE,
    b"x:1|q": Reason.UNKNOWN_TYPE,
    b"x:1|C": Reason.UNKNOWN_TYPE,
    b"x:1| c": Reason.UNKNOWN_TYPE,
    b"x:1|#a:b|c": Reason.UNKNOWN_TYPE,
    b"x:nan|g": Reason.BAD_VALUE,
    b"x:NaN|g": Reason.BAD_VALUE,
    b"x:inf|g": Reason.BAD_VALUE,
    b"x:-Infinity|g": Reason.BAD_VALUE,
    b"x:0x10|c": Reason.BAD_VALUE,
    b"x:1_000|c": Reason.BAD_VALUE,
    b"x: 1|c": Reason.BAD_VALUE,
    b"x:1 |c": Reason.BAD_VALUE,
    b"x:1\t|c": Reason.BAD_VALUE,
    b"x:1,5|c": Reason.BAD_VALUE,
    b"x:--1|c": Reason.BAD_VALUE,
    b"x:1.2.3|c": Reason.BAD_VALUE,
    b"x:e5|c": Reason.BAD_VALUE,
    b"x:.|c": Reason.BAD_VALUE,
    b"x:+|g": Reason.BAD_VALUE,
    b"x:1e999|c": Reason.BAD_VALUE,
    b"x:-1e999|g": Reason.BAD_VALUE,
    b"x:1e308|c|@0.1": Reason.BAD_VALUE,
    b"x:joe|c": Reason.BAD_VALUE,
    b"x:1:joe:2|d": Reason.BAD_VALUE,
    "x:\u0661|c".encode(): Reason.BAD_VALUE,  # an Arabic digit one, which float() of a str would take
    b"x:1|c|@0": Reason.BAD_SAMPLE_RATE,
    b"x:1|c|@": Reason.BAD_SAMPLE_RATE,
    b"x:1|c|@1.5": Reason.BAD_SAMPLE_RATE,
    b"x:1|c|@-0.5": Reason.BAD_SAMPLE_RATE,
    b"x:1|c|@nan": Reason.BAD_SAMPLE_RATE,
    b"x:1|c|@half": Reason.BAD_SAMPLE_RATE,
    b"x:1|c|@1e-310": Reason.BAD_SAMPLE_RATE,  # 1/rate is beyond a float
    b"x:1|g|@2": Reason.BAD_SAMPLE_RATE,
    b"x:1|c|T": Reason.BAD_TIMESTAMP,
    b"x:1|c|T-5": Reason.BAD_TIMESTAMP,
    b"x:1|c|T1.5": Reason.BAD_TIMESTAMP,
    b"x:1|c|Tnow": Reason.BAD_TIMESTAMP,
    b"x:1|c|T1234567890123456": Reason.BAD_TIMESTAMP,
    b"x:1|c|T1|T2": Reason.BAD_TIMESTAMP,
    b"\xff:1|c": Reason.INVALID_UTF8,
    b"x:1|c|#a:\xc3": Reason.INVALID_UTF8,
    b"x:1|c|#\xed\xa0\x80:b": Reason.INVALID_UTF8,  # a surrogate
    b"x" * 513 + b":1|c": Reason.NAME_TOO_LONG,
    b"x:1|c|#" + b"k:" + b"v" * 1023: Reason.TAG_TOO_LONG,
    b"x:1|c|#" + b",".join(b"k%d:v" % i for i in range(65)): Reason.TOO_MANY_TAGS,
    b"x:" + b"1:" * 32768 + b"1|d": Reason.LINE_TOO_LONG,
}


@pytest.mark.parametrize("line", BAD, ids=lambda line: repr(line[:40]))
def test_bad_lines(line: bytes) -> None:
    assert parse_line(line, LIMITS) == BadLine(BAD[line])


@pytest.mark.parametrize(
    ("line", "skip"),
    [
        (b"", Skip.EMPTY),
        (b"\r", Skip.EMPTY),
        (b"_e{5,4}:title|text", Skip.EVENT),
        (b"_e{5,4}:title|text|p:low|#a:b", Skip.EVENT),
        (b"_e{", Skip.EVENT),
        (b"_sc|redis|2|#env:dev|m:timed out", Skip.SERVICE_CHECK),
    ],
)
def test_skipped_lines(line: bytes, skip: Skip) -> None:
    assert parse_line(line, LIMITS) is skip


def test_at_the_limits() -> None:
    """One less than the bad ones above is good."""
    tags = b",".join(b"k%d:v" % i for i in range(64))
    for line in (b"x" * 512 + b":1|c", b"x:1|c|#k:" + b"v" * 1022, b"x:1|c|#" + tags):
        assert isinstance(parse_line(line, LIMITS), Line)
    short = Limits(max_line_bytes=64)
    assert isinstance(parse_line(b"x" * 60 + b":1|c", short), Line)
    assert parse_line(b"x" * 61 + b":1|c", short) == BadLine(Reason.LINE_TOO_LONG)


def test_a_duplicate_tag_does_not_count_towards_the_limit() -> None:
    line = b"x:1|c|#a:1,b:2,a:3"
    parsed = parse_line(line, Limits(max_tags=2))
    assert isinstance(parsed, Line)
    assert parsed.head.tags == (("a", "3"), ("b", "2"))


def test_head_is_asked_for_without_the_time() -> None:
    """So that lines which differ in nothing but `|T` share a memory."""
    asked = []

    def head_of(name: bytes, rest: bytes, limits: Limits) -> MetricKey:
        asked.append((name, rest))
        return MetricKey(C, "x", ())

    parse_line(b"x:1|c|T5|#a:b", LIMITS, head_of)
    assert asked == [(b"x", b"c|#a:b")]


@pytest.mark.parametrize(
    ("rest", "split"),
    [
        (b"c", (b"c", None)),
        (b"c|T7", (b"c", 7)),
        (b"c|#Tag:T5", (b"c|#Tag:T5", None)),
        (b"c|T7|@0.5", (b"c|@0.5", 7)),
        (b"Tc", (b"Tc", None)),
    ],
)
def test_split_time(rest: bytes, split: tuple[bytes, int | None]) -> None:
    assert split_time(rest) == split


SAMPLES = {
    b"x:1|c:2|c": [b"x:1|c", b"x:2|c"],
    b"x:1|ms:2|ms|@0.5:3|c": [b"x:1|ms", b"x:2|ms|@0.5", b"x:3|c"],
    b"x:1|c|@0.1:6|g": [b"x:1|c|@0.1", b"x:6|g"],
    b"x:1|c|#a:b|@0.5:2|c|c:id": [b"x:1|c|#a:b|@0.5", b"x:2|c|c:id"],  # a tag's and a field's `:` are theirs
    b"x:a:b|s:c|s": [b"x:a:b|s", b"x:c|s"],
    b"x:1|c:2": [b"x:1|c", b"x:2"],
    b"x:1|c:": [b"x:1|c", b"x:"],
    b"x:1|c::2|c": [b"x:1|c", b"x::2|c"],
    b"x:1|c:2|c\r": [b"x:1|c", b"x:2|c\r"],
    b"x:1|foo": [],
    b"x:1|foo|#a:b": [],
    b"x:1|c|@2": [],
    b"x|c:1": [],
    b":1|c:2|c": [],
    b"x": [],
}


@pytest.mark.parametrize("line", SAMPLES)
def test_further_samples(line: bytes) -> None:
    assert list(split_samples(line, LIMITS)) == SAMPLES[line]
    for part in SAMPLES[line]:
        assert not list(split_samples(part, LIMITS))


def test_further_samples_are_found_where_a_line_is_refused_for_them() -> None:
    for line, parts in SAMPLES.items():
        if parts:
            assert parse_line(line, LIMITS) in (
                BadLine(Reason.UNKNOWN_TYPE),
                BadLine(Reason.BAD_SAMPLE_RATE),
            )


def test_a_line_of_a_long_name_is_not_split() -> None:
    assert len(list(split_samples(b"x" * 512 + b":1|c:2|c", LIMITS))) == 2
    assert not list(split_samples(b"x" * 513 + b":1|c:2|c", LIMITS))


ALL: tuple[NameTags, ...] = ("influx", "librato", "signalfx")

#: name -> (styles, name without tags, tags, paired)
NAMES: dict[bytes, tuple[tuple[NameTags, ...], bytes, bytes, bool]] = {
    b"x,a=b": (("influx",), b"x", b"a=b", True),
    b"x,a=b,c=d#e": (("influx",), b"x", b"a=b,c=d#e", True),
    b"x#y,a=b": (("influx",), b"x#y", b"a=b", True),
    b"x#a=b,c=d": (("librato",), b"x", b"a=b,c=d", True),
    b"x,y#a=b": (("librato",), b"x,y", b"a=b", True),
    b"x,y#z=b": (("influx", "librato"), b"x", b"y#z=b", True),
    b"x[a=b]": (("signalfx",), b"x", b"a=b", True),
    b"x[a=b,c=d].y": (("signalfx",), b"x.y", b"a=b,c=d", True),
    b"[a=b]x": (("signalfx",), b"x", b"a=b", True),
    b"x[]": (("signalfx",), b"x", b"", True),
    b"x[a=[b]]": (("signalfx",), b"x]", b"a=[b", True),
    b"x[a=b": (ALL, b"x[a=b", b"", False),
    b"xa=b],c=d": (ALL, b"xa=b],c=d", b"", False),
    b"x]a=b[": (ALL, b"x]a=b[", b"", False),
    b"x[a=b],c=d": (ALL, b"x,c=d", b"a=b", True),  # signalfx goes first, and alone
    b"x#a=b": (ALL, b"x", b"a=b", True),
    b"x[a=b]#c": (("librato",), b"x[a=b]", b"c", True),
    b"x,": (("influx",), b"x", b"", True),
    b"x,a=b[": ((), b"x,a=b[", b"", True),
    b"plain": (ALL, b"plain", b"", True),
}


@pytest.mark.parametrize("name", NAMES)
def test_tags_in_names_are_parted(name: bytes) -> None:
    styles, *parted = NAMES[name]
    assert split_name_tags(name, styles) == tuple(parted)


NAME_TAGGED: dict[bytes, Line | BadLine | Skip] = {
    b"x,a=b:1|c": tagged(("a", "b")),
    b"x,b=2,a=1:1|c": tagged(("a", "1"), ("b", "2")),
    b"x#a=b=c:1|c": tagged(("a", "b=c")),
    b"x[a=b]:1|c": tagged(("a", "b")),
    b"x,a=1,a=2:1|c": tagged(("a", "2"), ignored=(Ignored.DUPLICATE_TAG,)),
    b"x,a=,=b,,c=d:1|c": tagged(("c", "d"), ignored=(Ignored.EMPTY_TAG, Ignored.EMPTY_TAG)),
    b"x,a,c=d:1|c": tagged(("c", "d"), ignored=(Ignored.MALFORMED_TAG,)),
    b"x,#a=1:1|c": tagged(("#a", "1")),
    b"x,a=b:1|c|@0.5": Line(MetricKey(C, "x", (("a", "b"),), weight=2.0), (1.0,)),
    b"x[a=b:1|c": Line(MetricKey(C, "x[a=b", (), ignored=(Ignored.MALFORMED_TAG,)), (1.0,)),
    # with `|#`: only where no tag of the name counts
    b"x,a:1|c|#c:d": tagged(("c", "d"), ignored=(Ignored.MALFORMED_TAG,)),
    b"x,a=b:1|c|#c:d": BadLine(Reason.MIXED_TAG_STYLES),
    b"x,a=b:1|c|#": BadLine(Reason.MIXED_TAG_STYLES),
    b"x,a=b:1|c|@0.1|#c": BadLine(Reason.MIXED_TAG_STYLES),
    b"x:1|c|#c:d": tagged(("c", "d")),
    b",a=b:1|c": BadLine(Reason.EMPTY_NAME),
    b"[a=b]:1|c": BadLine(Reason.EMPTY_NAME),
    b"x," + b",".join(b"k%d=v" % i for i in range(65)) + b":1|c": BadLine(Reason.TOO_MANY_TAGS),
    b"x,k=" + b"v" * 1023 + b":1|c": BadLine(Reason.TAG_TOO_LONG),
    b"x,k=\xff:1|c": BadLine(Reason.INVALID_UTF8),
    b"\xff,k=v:1|c": BadLine(Reason.INVALID_UTF8),
    b"x" * 513 + b",k=v:1|c": BadLine(Reason.NAME_TOO_LONG),
}


@pytest.mark.parametrize("line", NAME_TAGGED, ids=lambda line: repr(line[:40]))
def test_tags_in_names(line: bytes) -> None:
    assert parse_line(line, Limits(name_tags=ALL)) == with_marks(line, NAME_TAGGED[line])


def test_tags_in_names_are_not_part_of_its_length() -> None:
    line = b"x" * 512 + b",k=v:1|c"
    assert isinstance(parse_line(line, Limits(name_tags=("influx",))), Line)


def test_tags_in_names_are_part_of_the_name_unless_a_setting_says_so() -> None:
    for line in (b"x,a=b:1|c", b"x#a=b:1|c", b"x[a=b]:1|c"):
        assert parse_line(line, LIMITS) == counter(line[: line.index(b":")].decode(), 1.0, tags=())


def test_timers_in_seconds_are_divided_to_the_last_bit() -> None:
    seconds = Limits(timer_unit="s")
    for sent in (650, 35, 1, 0.1, 3, 123_456_789, -7):
        parsed = parse_line(b"x:%s|ms" % str(sent).encode(), seconds)
        assert isinstance(parsed, Line)
        assert parsed.values == (sent / 1000,)
    for line in (b"x:650|h", b"x:650|d", b"x:650|c", b"x:650|g"):
        parsed = parse_line(line, seconds)
        assert isinstance(parsed, Line)
        assert parsed.values == (650.0,)


def test_a_mapping_s_scale_is_applied_to_each_value_first() -> None:
    def scaled(name: bytes, rest: bytes, limits: Limits) -> MetricKey:
        return MetricKey(D, "x", (), weight=2.0, scale=0.001)

    assert parse_line(b"x:1500:3|d|@0.5", LIMITS, scaled) == Line(
        MetricKey(D, "x", (), weight=2.0, scale=0.001), (1500 * 0.001, 3 * 0.001)
    )

    def huge(name: bytes, rest: bytes, limits: Limits) -> MetricKey:
        return MetricKey(C, "x", (), scale=1e10)

    assert parse_line(b"x:1e300|c", LIMITS, huge) == BadLine(Reason.BAD_VALUE)


def test_a_mapping_may_drop_a_line() -> None:
    def dropped(name: bytes, rest: bytes, limits: Limits) -> Skip:
        return Skip.MAPPING

    assert parse_line(b"x:1|c", LIMITS, dropped) is Skip.MAPPING


@pytest.mark.parametrize("text", [b"", b"infinity", b"1e", b"0b1", b"1\n", b"\x001", b"1f", b"+-1"])
def test_no_numbers(text: bytes) -> None:
    assert number(text) is None


def test_enough_cases() -> None:
    assert len(GOOD) + len(BAD) > 110
