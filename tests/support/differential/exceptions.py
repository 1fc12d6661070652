"""The content of exceptions.toml: where the reference differs from Prometheus 3.x, as data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

FILE: Final = Path(__file__).with_suffix(".toml")


class Lacking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A construct that the reference does not have."""

    construct: str
    example: str


class Excuse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of difference; `query` and `difference` are regular expressions that are searched for."""

    query: str
    difference: str
    example: str
    why: str

    def covers(self, query: str, difference: str) -> bool:
        return bool(re.search(self.query, query) and re.search(self.difference, difference))


class OfKit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query of the kit's list that must differ."""

    query: str
    why: str


class Exceptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the file for the meaning of each part."""

    renamed: dict[str, str]
    lacking: list[Lacking]
    exception: list[Excuse]
    kit: list[OfKit]

    def as_reference(self, query: str) -> str:
        """Return the query with the reference's names."""
        for ours, theirs in self.renamed.items():
            query = re.sub(rf"\b{ours}\b", theirs, query)
        return query

    def excused(self, query: str, difference: str) -> bool:
        return any(e.covers(query, difference) for e in self.exception)


def load() -> Exceptions:
    return msgspec.toml.decode(FILE.read_bytes(), type=Exceptions)
