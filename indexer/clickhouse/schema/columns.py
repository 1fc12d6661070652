"""A column of a table: its type, its codec, and how its values merge. Pure."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

#: The ClickHouse aggregate function by which values of a column merge.
Merge = Literal["any", "groupBitOr", "max", "min", "sum", "sumMap", "uniqCombined64"]

#: Codec of float states: ALP if the engine has it, else plain ZSTD.
FLOAT: Final = "FLOAT"
#: Codec of ids that repeat over long runs: ZSTD shrinks them to almost nothing and decodes them in blocks.
ID: Final = "ZSTD(1)"


class Column(msgspec.Struct, frozen=True):
    """A stored column. `type` is the type of its values; `merge`: how rows of one key merge."""

    name: str
    type: str
    codec: str = ""  # "" leaves the engine's default (LZ4); the layout resolves FLOAT
    default: str = ""  # of rows that were written without the column
    merge: Merge | None = None

    @property
    def sql_type(self) -> str:
        """The type in a CREATE TABLE."""
        match self.merge:
            case None:
                return self.type
            case "uniqCombined64":
                return f"AggregateFunction({self.merge}, {self.type})"
            case _:
                return f"SimpleAggregateFunction({self.merge}, {self.type})"
