"""Packets made at random: lines of the corpus, whole or broken; lines by the grammar over few series; bytes.

Owns how odd the cores' input is. All from one seeded generator, so that a seed is a reproduction.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Final

from tests.corpus.cases import groups

_NAMES: Final = (*"a b a.b ä a\x01 a\x85 a,k=v a#k=v a[k=v] a,a=1,b=2 drop.me".encode().split(), b"x" * 40)
_TYPES: Final = b"c c c c c c g g g g d d d ms h s s m".split() * 2 + [b"x", b""]
_NUMBERS: Final = (
    *b"1 1 1 1 0 -0 2 3 10 -1 +1 -2.5 +7 0.1 0.3 1e3 1.5e-7 1e300 -1e300 1e308 5e-324 4294967296".split(),
    *b"9007199254740993 123456789.123456789 3.141592653589793238 1e309 nan x 0x1 1_0".split(),
    b"", b" 1",
)  # fmt: skip
_PLAIN_NUMBERS: Final = 12  # the first ones of these
_TAGS: Final = (
    *"a:1 a:1 a:2 b:2 b:2 k:v k:v k:w k:w k\x02:v bare a: :b #a:3 é:ö".encode().split(),
    b"", b"l:" + b"v" * 30, b"\xff:1",
)  # fmt: skip
_RATES: Final = b"|@0.5 |@0.5 |@0.1 |@0.1 |@1 |@0.3 |@1e-3 |@2 |@x |@1e-300".split()
_FIELDS: Final = [*_RATES, *b"|c:id |c:id |c:other |e:x |card:low |zz | |#".split()]
#: How far from its arrival the time of a line is, in seconds.
_AWAY_S: Final = (0, 0, 1, -1, -9, -10, -11, 5, 60, 61, -100, -3_600, -3_601, 1_000_000, -1_000_000)
#: Bytes that mean something to the grammar, and those around them.
_MEANT: Final = b":|@#,=[]{}+-.eETc gdhmsx019\r\n\x00\x7f\x80\xc3\xa4\xe2\xff_"
#: Members come from a set of this size, so that some meet.
_MEMBERS: Final = 40


@cache
def _corpus() -> list[bytes]:
    return [case.packet for group in groups() for case in group.cases if len(case.packet) < 400]


class PacketMaker:
    """Makes packets for a time; the same for the same seed."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._corpus = _corpus()
        self._seen: list[bytes] = []

    def packet(self, now_ms: int) -> bytes:
        """Return some lines for an arrival at `now_ms`."""
        r = self._random
        kind = r.random()
        if kind < 0.03:
            return r.randbytes(r.randrange(120))
        lines = [self.line(now_ms) for _ in range(1 + int(r.expovariate(0.35)))]
        packet = r.choice((b"\n", b"\n", b"\n", b"\n", b"\r\n", b"\n\n")).join(lines)
        if kind < 0.1:
            packet = self._broken(packet)
        return packet + b"\n" if r.random() < 0.3 else packet

    def line(self, now_ms: int) -> bytes:
        """Return a line as it is sent, or nearly."""
        r = self._random
        kind = r.random()
        if kind < 0.25 and self._seen:
            return self._again(r.choice(self._seen))
        if kind < 0.40:
            line = r.choice(self._corpus)
            return self._broken(line) if r.random() < 0.4 else line
        line = self._made(now_ms)
        if len(self._seen) < 30:
            self._seen.append(line)
        elif r.random() < 0.05:
            self._seen[r.randrange(30)] = line
        return self._broken(line) if kind > 0.96 else line

    def _made(self, now_ms: int) -> bytes:
        r = self._random
        fields = [r.choice(_FIELDS) for _ in range(r.choice((0, 0, 0, 1, 1, 2)))]
        if r.random() < 0.6:
            fields.append(b"|#" + b",".join(r.choice(_TAGS) for _ in range(r.randrange(1, 5))))
        if r.random() < 0.25:
            fields.append(b"|T" + self._time(now_ms))
        r.shuffle(fields)
        kind = r.choice(_TYPES)
        return r.choice(_NAMES) + b":" + self._value(kind) + b"|" + kind + b"".join(fields)

    def _value(self, kind: bytes) -> bytes:
        r = self._random
        if kind == b"s":
            return b"m%d" % r.randrange(_MEMBERS) if r.random() < 0.9 else r.choice(_NUMBERS) + b":x"
        return b":".join(self.number() for _ in range(1 if r.random() < 0.85 else r.randrange(2, 5)))

    def number(self) -> bytes:
        """Return a decimal number, or nearly."""
        r = self._random
        kind = r.random()
        if kind < 0.5:
            return r.choice(_NUMBERS[:_PLAIN_NUMBERS])
        if kind < 0.7:
            return r.choice(_NUMBERS)
        if kind < 0.85:
            return b"%d" % r.randrange(-1_000, 1_000)
        return decimal(r)

    def _time(self, now_ms: int) -> bytes:
        r = self._random
        if r.random() < 0.05:
            return r.choice((b"", b"x", b"0", b"9" * 16))
        return b"%d" % max(now_ms // 1000 + r.choice(_AWAY_S), 0)

    def _again(self, line: bytes) -> bytes:
        """Return a known head with another value: the case of the quick ways."""
        r = self._random
        name, colon, rest = line.partition(b":")
        _, bar, rest = rest.partition(b"|")
        if not bar or r.random() < 0.2:
            return line
        return name + colon + self._value(rest[:1]) + bar + rest

    def _broken(self, line: bytes) -> bytes:
        r = self._random
        out = bytearray(line)
        for _ in range(r.choice((1, 1, 2, 4))):
            at = r.randrange(len(out) + 1)
            match r.randrange(5):
                case 0:
                    out[at : at + 1] = b""
                case 1:
                    out[at:at] = bytes([r.choice(_MEANT)])
                case 2:
                    out[at : at + 1] = bytes([r.choice(_MEANT)])
                case 3:
                    out[at : at + 1] = bytes([r.randrange(256)])
                case _:
                    start = r.randrange(len(out) + 1)
                    out[at:at] = out[start : start + r.randrange(12)]
        return bytes(out)


def decimal(r: Random) -> bytes:
    """Return a decimal number of any size and length, mostly one that is hard to round."""
    digits = r.choice((1, 3, 9, 15, 16, 17, 18, 19, 20, 25, 40))
    text = "".join(r.choice("0123456789") for _ in range(r.randrange(1, digits + 1)))
    if r.random() < 0.7:
        point = r.randrange(len(text) + 1)
        text = text[:point] + "." + text[point:]
    if r.random() < 0.5:
        exponent = r.choice((r.randrange(-30, 30), r.randrange(-345, 310)))
        text += r.choice("eE") + r.choice(("", "+") if exponent >= 0 else ("",)) + str(exponent)
    return (r.choice(("", "", "-", "+")) + text).encode()
