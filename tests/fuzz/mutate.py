"""Inputs for decoders: valid examples, changed at random, and noise. Pure: the same seed, the same inputs.

An input whose outcome is new joins the examples, so that changes add up (`keep`).
"""

# ruff: noqa: E501 (lists of short texts, many to a line)

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

#: Bytes that decoders of any kind look for.
WORDS: Final = (
    *(b"", b"\0", b"\xff", b"\xc3\xa4", b"\xed\xa0\x80", b"\n", b" ", b'"', b"'", b"\\", b"{", b"}", b"[", b"]"),
    *(b"-1", b"0", b"1e400", b"-1e308", b"NaN", b"9" * 30, b"9" * 5_000, b"9223372036854775808", b"\xd9\xa3"),
    *(b"\\ud800", b"\\U00110000", b"\xf4\x90\x80\x80", b"null", b"true", b"." * 500, b"[" * 1_500, b'{"a":' * 1_500),
)  # fmt: skip
#: No input grows beyond this, but for the examples.
MAX_BYTES: Final = 64 << 10
_MAX_EXAMPLES: Final = 2_000
_STACKED: Final = (1, 1, 1, 2, 2, 3, 5, 12)


class Mutator:
    """A stream of inputs made of `examples` and `words`."""

    def __init__(self, seed: str, examples: Sequence[bytes], words: Sequence[bytes] = ()) -> None:
        self._random = random.Random(seed)
        self._examples = list(examples)
        self._first = len(examples)
        self._words = (*words, *words, *WORDS)
        self._given = 0

    def next(self) -> bytes:
        """Yield the examples themselves first, then their mutations."""
        self._given += 1
        if self._given <= self._first:
            return self._examples[self._given - 1]
        if self._random.random() < 0.02:
            return self._random.randbytes(self._random.randrange(200))
        data = bytearray(self._random.choice(self._examples))
        for _ in range(self._random.choice(_STACKED)):
            self._change(data)
        return bytes(data[:MAX_BYTES])

    def keep(self, data: bytes) -> None:
        """Take an input among the examples; of too many one that was kept before goes."""
        if len(self._examples) < _MAX_EXAMPLES:
            self._examples.append(data)
        else:
            self._examples[self._random.randrange(self._first, _MAX_EXAMPLES)] = data

    def _change(self, data: bytearray) -> None:
        rng = self._random
        at = rng.randrange(len(data) + 1)
        length = min(rng.choice((1, 1, 2, 4, 8, 40)), len(data) - at)
        match rng.randrange(9):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.randrange(256)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
            case 4:
                other = rng.choice(self._examples)
                start = rng.randrange(len(other) + 1)
                data[at : at + length] = other[start : start + rng.choice((1, 4, 20, 200))]
            case 5 if data:
                del data[at:]
            case 6 if len(data) >= 4:
                at = rng.randrange(len(data) - 3)
                data[at : at + 4] = rng.choice((0, 1, 0xFFFF, 1 << 31, 0xFFFF_FFFF)).to_bytes(4, "little")
            case 7:
                data[at : at + length] = rng.choice(self._words)
            case _:
                data[at:at] = rng.choice(self._words)
