"""How long rows are kept: a struct with a field `days_<name>` for each granularity. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from indexer.clickhouse.granularities import GRANULARITIES, Granularity

_MAX_DAYS: Final = 65_535


class RetentionBase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The methods of `Retention`, whose fields follow from the granularities."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 1 <= getattr(self, name) <= _MAX_DAYS:
                raise ValueError(f"{name}: expected 1 to {_MAX_DAYS} days")

    def days(self, granularity: str) -> int:
        """Return the days that rows of a granularity are kept."""
        days: int = getattr(self, f"days_{granularity}")
        return days

    @property
    def catalog_days(self) -> int:
        """Days that series, strings and tags are kept: those of the coarsest granularity."""
        return self.days(GRANULARITIES[-1].name)


def _field(granularity: Granularity) -> tuple[str, Any, int]:
    """Return the field of a granularity: its name, its type with a description, its default."""
    digits = granularity.name.rstrip("smhd")
    rows = f"{digits} {granularity.name[len(digits) :]} rows"
    if granularity is GRANULARITIES[-1]:
        rows += ", the series and the tag tables"
    described = Annotated[int, msgspec.Meta(description=f"days that {rows} are kept")]
    return f"days_{granularity.name}", described, granularity.retention_days


if TYPE_CHECKING:

    class Retention(RetentionBase, frozen=True, forbid_unknown_fields=True):
        """Days that rows are kept, by granularity. A shorter `retention_days` of a frame wins."""

        def __init__(self, *days: int, **by_name: int) -> None: ...

        def __getattr__(self, name: str) -> int: ...

else:
    Retention = msgspec.defstruct(
        "Retention",
        [_field(g) for g in GRANULARITIES],
        bases=(RetentionBase,),
        module=__name__,
        namespace={"__doc__": "Days that rows are kept, by granularity."},
        frozen=True,
        forbid_unknown_fields=True,
    )
