"""Explains the result of a line, and why: the answer to "where is my metric?".

Owns no semantics. A line goes through agent/protocol/line.py and the mapping to find how it is read, and
through a separate aggregator to find its effect, so an explanation cannot differ from the agent's behaviour.

Pure: `now_ms` is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from agent.aggregate.aggregator import Aggregator
from agent.mapping.mapper import MappedKey, Mapper
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
    parse_line,
    parse_metric_key,
)
from agent.settings import AgentSettings
from agent.wire.metadata import in_seconds

WORDS: Final[dict[Reason | Skip | Ignored, str]] = {
    Reason.NO_VALUE: "there is no `:` between name and value",
    Reason.EMPTY_NAME: "there is no name before the `:`, or only tags",
    Reason.EMPTY_VALUE: "there is no value after a `:`",
    Reason.BAD_VALUE: "a value is not a decimal number, or (scaled and weighted) too large for a float",
    Reason.NO_TYPE: "there is no `|` and type after the value",
    Reason.UNKNOWN_TYPE: "the type is unknown: expected c, m, g, d, h, ms or s",
    Reason.BAD_SAMPLE_RATE: "the number after `@` is out of range: expected above 0 and at most 1",
    Reason.BAD_TIMESTAMP: "`|T` is repeated, or not followed by whole Unix seconds",
    Reason.INVALID_UTF8: "name or tags are not UTF-8",
    Reason.LINE_TOO_LONG: "the line is longer than agent.lines.max_line_bytes",
    Reason.NAME_TOO_LONG: "the name is longer than agent.lines.max_name_bytes",
    Reason.TAG_TOO_LONG: "a tag is longer than agent.lines.max_tag_bytes",
    Reason.TOO_MANY_TAGS: "there are more tags than agent.lines.max_tags",
    Reason.MIXED_TAG_STYLES: "there are tags in the name and a `|#` field",
    Reason.CONTROL_CHARACTER: "a control character in the name or the key of a tag, and "
    "agent.lines.control_characters = false",
    Reason.CUT_OFF: "a datagram or a connection ended within the line",
    Skip.EMPTY: "the line is empty",
    Skip.EVENT: "it is an event; agent.relay.events may send it on",
    Skip.SERVICE_CHECK: "it is a service check; agent.relay.events may send it on",
    Skip.MAPPING: "the mapping drops it",
    Ignored.UNKNOWN_FIELD: "an unknown field",
    Ignored.EMPTY_TAG: "a tag without a key, or with nothing after its `:` or `=`",
    Ignored.DUPLICATE_TAG: "a tag whose key is repeated later",
    Ignored.MALFORMED_TAG: "in the name: a tag without `=`, or an unmatched bracket",
}


_MILLISECONDS: Final = "the name says seconds, the value is in milliseconds as sent; see timer_unit"


class MappedBy(msgspec.Struct, frozen=True):
    """The entry of the mapping file that handled a line."""

    number: int  # from 1
    line: int  # of the file
    match: str
    why: str = ""  # why it could not be used


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one sample; fields that do not apply keep their defaults."""

    line: str
    outcome: Literal["taken", "skipped", "refused"]
    reason: str = ""  # the label of the counter that counts it
    because: str = ""
    type: str = ""
    name: str = ""
    tags: dict[str, str] = {}
    values: tuple[float, ...] = ()  # scaled
    deltas: tuple[bool, ...] = ()
    sign: str = ""  # why a sign of a gauge's value makes it a delta, or does not
    member: str = ""
    weight: float = 1.0
    scale: float = 1.0
    divisor: float = 1.0
    ignored: tuple[str, ...] = ()
    mapping: MappedBy | None = None
    bucket: int = 0  # its start in Unix seconds
    moved: Literal["", "old", "future"] = ""  # `|T` was beyond that edge of the window
    note: str = ""  # a valid reading that may not be intended


def explain(line: bytes, settings: AgentSettings, mapper: Mapper | None, now_ms: int) -> list[Explained]:
    """Explain a line (without its newline) arriving at `now_ms`: one result, or one per further sample."""
    parsed = parse_line(line, settings.lines)
    if isinstance(parsed, BadLine) and parsed.reason in (Reason.UNKNOWN_TYPE, Reason.BAD_SAMPLE_RATE):
        samples = list(split_samples(line, settings.lines))
    else:
        samples = []
    return [_explain(sample, settings, mapper, now_ms) for sample in samples or [line]]


def _explain(line: bytes, settings: AgentSettings, mapper: Mapper | None, now_ms: int) -> Explained:
    shown, by = line.decode(errors="backslashreplace"), list[MappedKey]()

    def head_of(name: bytes, rest: bytes, limits: Limits) -> MetricKey | BadLine | Skip:
        head = parse_metric_key(name, rest, limits)
        if isinstance(head, BadLine) or mapper is None:
            return head
        by.append(mapper.explain(head))
        return Skip.MAPPING if by[0].head is None else by[0].head

    parsed = parse_line(line, settings.lines, head_of)
    mapping = _mapped_by(by[0]) if by else None
    match parsed:
        case BadLine(reason):
            return Explained(
                line=shown, outcome="refused", reason=reason.value, because=WORDS[reason], mapping=mapping
            )
        case Skip():
            return Explained(
                line=shown, outcome="skipped", reason=parsed.value, because=WORDS[parsed], mapping=mapping
            )
        case Line():
            explained = _taken(line, shown, parsed, mapping, settings, mapper, now_ms)
            rule = by[0].rule if by else None
            sign = _sign(parsed, line, rule.gauge_deltas if rule else None, settings.lines.gauge_deltas)
            return msgspec.structs.replace(explained, sign=sign)


def _sign(parsed: Line, line: bytes, mapped: GaugeDeltas | None, setting: GaugeDeltas) -> str:
    """Explain why a signed gauge value is a delta or not; empty without a sign."""
    raw = line.partition(b":")[2].partition(b"|")[0]
    if parsed.head.kind is not Kind.GAUGE or not any(part[:1] in (b"+", b"-") for part in raw.split(b":")):
        return ""
    by = f"gauge_deltas: {mapped} of the mapping" if mapped else f"agent.lines.gauge_deltas = {setting}"
    if parsed.time_s is not None:
        return "no delta: the line has a `|T`"
    if (mapped or setting) != "auto":
        return f"{'a' if any(parsed.deltas) else 'no'} delta: {by}"
    if parsed.head.marked:
        return f"no delta: {by}, and the line has a mark of DogStatsD (`|#`, `|c:`, `|e:` or `|card:`)"
    return (
        f"a delta: {by}, and the line has no mark of DogStatsD; untagged lines of datadogpy have none "
        "either: set `never` for them"
    )


def _mapped_by(mapped: MappedKey) -> MappedBy | None:
    rule = mapped.rule
    return MappedBy(rule.number, rule.line, rule.match, mapped.why) if rule else None


def _taken(
    line: bytes,
    shown: str,
    parsed: Line,
    mapping: MappedBy | None,
    settings: AgentSettings,
    mapper: Mapper | None,
    now_ms: int,
) -> Explained:
    core = Aggregator(settings.aggregate, settings.lines, settings.tags, mapper)
    core.add(line, now_ms)
    ((series, start_s),) = ((s, bucket.start_s) for bucket in core.flush_all(now_ms) for s in bucket.cells)
    head = parsed.head
    return Explained(
        line=shown,
        outcome="taken",
        type=series.kind.value,
        name=series.name,
        tags=dict(series.tags),
        values=parsed.values,
        deltas=parsed.deltas,
        member=parsed.member.decode(errors="backslashreplace"),
        weight=head.weight,
        scale=head.scale,
        divisor=head.divisor,
        ignored=tuple(ignored.value for ignored in head.ignored),
        mapping=mapping,
        bucket=start_s,
        note=_MILLISECONDS if head.timer and head.as_sent and in_seconds(series.name) else "",
        moved="old" if core.stats.clamped_old else "future" if core.stats.clamped_future else "",
    )


def text(explained: Sequence[Explained]) -> str:
    """Format the explanations of one line for a reader."""
    said = []
    if len(explained) > 1:
        said.append(f"{len(explained)} samples of one name, each a line of its own:")
    for one in explained:
        said += [one.line, *(f"  {label:8}  {words}" for label, words in _rows(one))]
    return "\n".join(said)


def _rows(one: Explained) -> Iterator[tuple[str, str]]:
    if one.outcome != "taken":
        yield one.outcome, f"{one.reason}: {one.because}"
    if one.mapping:
        why = f": {one.mapping.why}" if one.mapping.why else ""
        yield "mapping", f"{one.mapping.number} ({one.mapping.match}), line {one.mapping.line}{why}"
    if one.outcome != "taken":
        return
    tags = ",".join(f'{key}="{value}"' for key, value in one.tags.items())
    yield "series", f"{one.type} {one.name}{{{tags}}}"
    yield "adds", _adds(one)
    if one.sign:
        yield "sign", one.sign
    moved = (
        f", the {'oldest' if one.moved == 'old' else 'latest'} accepted one: its time is outside"
        if one.moved
        else ""
    )
    yield "bucket", f"{datetime.fromtimestamp(one.bucket, UTC):%Y-%m-%dT%H:%M:%SZ} ({one.bucket}){moved}"
    if one.note:
        yield "note", one.note
    for ignored in one.ignored:
        yield "left out", f"{ignored}: {WORDS[Ignored(ignored)]}"


def _adds(one: Explained) -> str:
    scaled = " (milliseconds as seconds)" if one.divisor != 1.0 else ""
    scaled += f" (scaled by {one.scale!r})" if one.scale != 1.0 else ""
    weight = f", each {one.weight!r} times" if one.weight != 1.0 else ""
    match Kind(one.type):
        case Kind.SET:
            return f"member {one.member}"
        case Kind.GAUGE:
            deltas = zip(one.values, one.deltas, strict=True)
            return (
                ", then ".join(f"{v!r} to its last value" if delta else f"value {v!r}" for v, delta in deltas)
                + scaled
            )
        case Kind.COUNTER | Kind.DISTRIBUTION:
            return ", ".join(map(repr, one.values)) + weight + scaled
