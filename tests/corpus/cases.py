"""The cases of protocol.toml, as bytes and settings."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.protocol.line import Limits
from agent.settings import AgentSettings, AggregateSettings

FILE: Final = Path(__file__).with_name("protocol.toml")
#: When the packets of all cases arrive; the start of a bucket.
NOW_MS: Final = 1_700_000_000_000

_ESCAPE: Final = re.compile(
    rb"\\(?:(?P<plain>[nrt\\])|x(?P<byte>[0-9a-f]{2})|\{(?P<times>\d+):(?P<text>[^}]+)\})"
)
_PLAIN: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\"}


class Case(msgspec.Struct, frozen=True):
    """One packet, mostly of one line, and the result of its lines."""

    text: str  # as it is in the file, with escapes
    becomes: tuple[str, ...]  # see reading.py; none for empty lines
    why: str
    source: str
    packet: bytes


class Group(msgspec.Struct, frozen=True):
    """Cases of one part of the protocol, under one set of settings."""

    title: str
    text: str
    cases: tuple[Case, ...]
    lines: Limits = Limits()
    aggregate: AggregateSettings = AggregateSettings()

    @property
    def settings(self) -> AgentSettings:
        """The settings of an agent to which the group applies."""
        return AgentSettings(lines=self.lines, aggregate=self.aggregate)


def groups() -> Iterator[Group]:
    """All groups, in the order of the file."""
    for group in tomllib.loads(FILE.read_text())["group"]:
        cases = [_case(*case) for case in group.pop("cases")]
        yield msgspec.convert({**group, "cases": cases}, Group)


def _case(text: str, becomes: str | list[str], why: str, source: str) -> Any:
    each = [becomes] if isinstance(becomes, str) else becomes
    return Case(text, tuple(filter(None, each)), why, source, unescaped(text))


def unescaped(text: str) -> bytes:
    """Return the bytes of `text`; its escapes are explained in protocol.toml."""
    return _ESCAPE.sub(_bytes_of, text.encode())


def _bytes_of(found: re.Match[bytes]) -> bytes:
    if plain := found["plain"]:
        return _PLAIN[plain]
    if byte := found["byte"]:
        return bytes.fromhex(byte.decode())
    return found["text"] * int(found["times"])
