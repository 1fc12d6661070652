"""The entities of SnQL: which stored type each one reads. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from shim.catalog.types import Kind

_TYPES: Final[Mapping[str, Kind]] = {
    "counters": "counter", "distributions": "histogram", "sets": "set", "gauges": "gauge",
}  # fmt: skip
#: The datasets, by the prefix of their entities' names.
DATASETS: Final[Mapping[str, tuple[str, ...]]] = {
    "metrics": ("metrics_", "org_metrics_"),
    "generic_metrics": ("generic_metrics_", "generic_org_metrics_"),
}
_NAME: Final = re.compile(
    r"(generic_)?(org_)?metrics_(counters|distributions|sets|gauges)(_meta(?:_tag_values)?)?"
)
#: The tables that the seeds name: `metrics_counters_v2_local`.
_TABLE: Final = re.compile(
    r"((?:generic_)?(?:org_)?metrics_(?:counters|distributions|sets|gauges))(?:_v\d+)?(?:_(?:local|dist))?"
)


_META: Final[Mapping[str, Literal["", "keys", "values"]]] = {
    "": "", "_meta": "keys", "_meta_tag_values": "values",
}  # fmt: skip
#: The columns of an entity of tags.
META_COLUMNS: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset(), "keys": frozenset({"tag_key"}), "values": frozenset({"tag_key", "tag_value"}),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entity:
    """One stored type. `org_wide`: of all projects of the org, so that no project is required.

    `meta`: the tag keys of its series, or their values, instead of measurements.
    """

    name: str
    kind: Kind
    org_wide: bool
    meta: Literal["", "keys", "values"] = ""

    @property
    def columns(self) -> frozenset[str]:
        """The columns that only this entity has."""
        return META_COLUMNS[self.meta]


def entity_of(name: str, *, is_table: bool = False) -> Entity | None:
    """Return the entity of a name, or of a table's name; None for others."""
    if is_table:
        table = _TABLE.fullmatch(name)
        name = table[1] if table else name
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return Entity(name, _TYPES[found[3]], found[2] is not None, _META[found[4] or ""])


def names_of(dataset: str) -> list[str]:
    """List the entities of a dataset."""
    suffixes = _META if dataset == "generic_metrics" else ("",)
    return [f"{prefix}{name}{end}" for prefix in DATASETS[dataset] for name in _TYPES for end in suffixes]
