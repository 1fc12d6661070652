"""The results of the lines of a packet, in the words of protocol.toml.

`refused: <reason>`, `skipped: <kind>`, or

    <type> <name> {<key>=<value>, ...}: <value>, ... (x<weight>) at <Unix seconds>; left out: <part>, ...

Tags are sorted. A delta of a gauge is `by <number>`, a member of a set is in quotes. `at 5, moved to
1699996400` is a time outside the window. Long texts are cut, with their length. Empty lines become nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from agent.protocol.further_samples import split_samples
from agent.protocol.line import (
    BadLine,
    Kind,
    Limits,
    Line,
    MetricKey,
    Reason,
    Skip,
    parse_line,
)
from agent.settings import AggregateSettings

#: Characters of a name, a tag or a member that are shown.
SHOWN: Final = 40


def becomes(packet: bytes, now_ms: int, limits: Limits, aggregate: AggregateSettings) -> list[str]:
    """One text for each sample, refused or skipped line of `packet`."""
    return [_text(parsed, now_ms, aggregate) for parsed in read(packet, limits)]


def read(packet: bytes, limits: Limits) -> Iterator[Line | BadLine | Skip]:
    """Yield the lines of a packet; those with further samples of a name taken apart, empty ones left out."""
    for line in packet.split(b"\n"):
        parsed = parse_line(line, limits)
        if isinstance(parsed, BadLine) and parsed.reason in (Reason.UNKNOWN_TYPE, Reason.BAD_SAMPLE_RATE):
            samples = list(split_samples(line, limits)) or [line]
            yield from (parse_line(sample, limits) for sample in samples)
        elif parsed is not Skip.EMPTY:
            yield parsed


def _text(parsed: Line | BadLine | Skip, now_ms: int, aggregate: AggregateSettings) -> str:
    if isinstance(parsed, BadLine):
        return f"refused: {parsed.reason.value}"
    if isinstance(parsed, Skip):
        return f"skipped: {parsed.value}"
    parts = [_series(parsed.head), ": ", _values(parsed)]
    if parsed.head.weight != 1.0:
        parts.append(f" (x{_number(parsed.head.weight)})")
    if parsed.time_s is not None:
        parts.append(_time(parsed.time_s, now_ms, aggregate))
    if parsed.head.ignored:
        parts.append(f"; left out: {_ignored(parsed.head)}")
    return "".join(parts)


def _series(head: MetricKey) -> str:
    tags = ", ".join(f"{_cut(key)}={_cut(value)}" for key, value in head.tags)
    return f"{head.kind.value} {_cut(head.name)}" + (f" {{{tags}}}" if tags else "")


def _values(line: Line) -> str:
    if line.head.kind is Kind.SET:
        return _cut(line.member.decode(errors="backslashreplace"), quoted=True)
    deltas = line.deltas or (False,) * len(line.values)
    shown = [("by " if delta else "") + _number(v) for v, delta in zip(line.values, deltas, strict=True)]
    if len(shown) > 10:
        return f"{', '.join(shown[:3])}, … ({len(shown)} values)"
    return ", ".join(shown)


def _ignored(head: MetricKey) -> str:
    times = Counter(head.ignored)
    return ", ".join(f"{what.value} ({n})" if n > 1 else what.value for what, n in times.items())


def _number(value: float) -> str:
    text = repr(value)
    return text.removesuffix(".0")


def _time(time_s: int, now_ms: int, aggregate: AggregateSettings) -> str:
    earliest, latest = now_ms // 1000 - aggregate.lateness_s, now_ms // 1000 + aggregate.future_s
    moved = min(max(time_s, earliest), latest)
    return f" at {time_s}" + (f", moved to {moved}" if moved != time_s else "")


def _cut(text: str, *, quoted: bool = False) -> str:
    shown = text if len(text) <= SHOWN else f"{text[:8]}… ({len(text)} characters)"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return f'"{shown}"' if quoted else shown
