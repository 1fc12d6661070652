"""The texts of snql.toml and mql.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

import msgspec

FILE: Final = Path(__file__).with_name("snql.toml")
MQL: Final = Path(__file__).with_name("mql.toml")


class Seed(msgspec.Struct, frozen=True):
    """A query of the seed document, verbatim."""

    name: str
    text: str


class Refused(msgspec.Struct, frozen=True):
    """A text that is refused, and the error."""

    text: str
    error: str


class Texts(msgspec.Struct, frozen=True, rename={"plain": "valid"}):
    """All of a language's texts."""

    plain: dict[str, tuple[str, ...]]
    odd: dict[str, tuple[str, ...]]
    invalid: tuple[Refused, ...]
    seed: tuple[Seed, ...] = ()

    @property
    def valid(self) -> tuple[str, ...]:
        """Every text that parses."""
        return (*(seed.text for seed in self.seed), *self.plain["texts"], *self.odd["texts"])


def texts(path: Path = FILE) -> Texts:
    """Read the file."""
    return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Texts)
