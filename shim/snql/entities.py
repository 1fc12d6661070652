"""The entities of SnQL: which stored type each one reads. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shim.catalog.types import Kind

_TYPES: Final[Mapping[str, Kind]] = {
    "counters": "counter", "distributions": "histogram", "sets": "set", "gauges": "gauge",
}  # fmt: skip
#: The datasets, by the prefix of their entities' names.
DATASETS: Final[Mapping[str, tuple[str, ...]]] = {
    "metrics": ("metrics_", "org_metrics_"),
    "generic_metrics": ("generic_metrics_", "generic_org_metrics_"),
}
_NAME: Final = re.compile(r"(generic_)?(org_)?metrics_(counters|distributions|sets|gauges)")
#: The tables that the seeds name: `metrics_counters_v2_local`.
_TABLE: Final = re.compile(
    r"((?:generic_)?(?:org_)?metrics_(?:counters|distributions|sets|gauges))(?:_v\d+)?(?:_(?:local|dist))?"
)


@dataclass(frozen=True, slots=True)
class Entity:
    """One stored type. `org_wide`: of all projects of the org, so that no project is required."""

    name: str
    kind: Kind
    org_wide: bool


def entity_of(name: str, *, is_table: bool = False) -> Entity | None:
    """Return the entity of a name, or of a table's name; None for others."""
    if is_table:
        table = _TABLE.fullmatch(name)
        name = table[1] if table else name
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return Entity(name, _TYPES[found[3]], found[2] is not None)


def names_of(dataset: str) -> list[str]:
    """List the entities of a dataset."""
    return [f"{prefix}{name}" for prefix in DATASETS[dataset] for name in _TYPES]
