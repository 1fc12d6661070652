"""Rows of `series` and the tag tables as conditions: whose, when, which metrics, which tags.

The tenant's condition is in every scope, and is made in one place. User text never enters the SQL: ids are
bound, and lists of more than a few travel beside the statement (indexer/clickhouse/sent_tables.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from indexer.clickhouse.sent_tables import SentTable
from shim.catalog.types import Days
from shim.model.tenancy import Tenant

U64s = npt.NDArray[np.uint64]

#: Ids that are bound as a parameter (20 bytes each in the request); more are sent beside the statement.
MAX_BOUND_IDS: Final = 64

#: The days of a row of `series`, and those of a row of the tag tables.
ON_DAYS: Final = "day BETWEEN toDate({first:UInt16}) AND toDate({last:UInt16})"
SEEN: Final = "first_day <= toDate({last:UInt16}) AND last_day >= toDate({first:UInt16})"


@dataclass(frozen=True, slots=True)
class TagCondition:
    """A condition on the tag that is shown as one label.

    `keys`: tag keys that are shown as it; of several, a series has the first one it was sent with. `values`:
    ids of the values that meet the condition (`among`), or of those that do not. Id 0 is the missing tag.
    """

    keys: tuple[int, ...]
    values: U64s
    among: bool


@dataclass(frozen=True, slots=True)
class Scope:
    """A condition in SQL, its parameters, and the external tables sent with it."""

    where: tuple[str, ...]
    bound: Mapping[str, Any] = field(default_factory=dict)
    sent: tuple[SentTable, ...] = ()

    @property
    def text(self) -> str:
        """The condition."""
        return " AND ".join(self.where)

    def also(self, condition: str, **bound: Any) -> Scope:
        """Return the scope with one more condition."""
        return replace(self, where=(*self.where, condition), bound={**self.bound, **bound})

    def within(self, what: str, ids: U64s | Sequence[int], *, among: bool = True) -> Scope:
        """Return the rows whose `what` (an expression of type UInt64) is among `ids`, or is not."""
        wanted = np.asarray(ids, dtype=np.uint64)
        name = f"ids_{len(self.where)}"
        op = "" if among else "NOT "
        if len(wanted) <= MAX_BOUND_IDS:
            return self.also(f"{what} {op}IN {{{name}:Array(UInt64)}}", **{name: wanted.tolist()})
        sent = SentTable(name, {"id": wanted})
        found = self.also(f"{what} GLOBAL {op}IN (SELECT id FROM {name})")
        return replace(found, sent=(*self.sent, sent))

    def with_tag(self, condition: TagCondition) -> Scope:
        """Return the rows of `series` that meet a condition on their tags."""
        return self.within(tag_value(condition.keys), condition.values, among=condition.among)

    def with_value_of(self, ids: U64s | Sequence[int]) -> Scope:
        """Return the rows of `series` that have one of these values under any tag."""
        wanted = np.asarray(ids, dtype=np.uint64)
        if len(wanted) <= MAX_BOUND_IDS:
            name = f"ids_{len(self.where)}"
            return self.also(f"hasAny(tag_values, {{{name}:Array(UInt64)}})", **{name: wanted.tolist()})
        name = f"ids_{len(self.where)}"
        sent = SentTable.of_arrays(name, {"ids": wanted})
        found = self.also(f"hasAny(tag_values, (SELECT ids FROM {name}))")
        return replace(found, sent=(*self.sent, sent))


def of_tenant(tenant: Tenant) -> Scope:
    """Return all rows of a tenant."""
    scope = Scope(("org_id = {org:UInt32}",), {"org": tenant.org_id})
    if tenant.project_id is None:
        return scope
    return scope.also("project_id = {project:UInt32}", project=tenant.project_id)


def of_days(tenant: Tenant, days: Days, condition: str = ON_DAYS) -> Scope:
    """Select a tenant's rows on those days; `condition` is SEEN for the tag tables."""
    return of_tenant(tenant).also(condition, first=days.first, last=days.last)


def of_metrics(
    tenant: Tenant, days: Days, metric_ids: Sequence[int] | U64s, condition: str = ON_DAYS
) -> Scope:
    """Select a tenant's rows of those metrics on those days."""
    return of_days(tenant, days, condition).within("metric_id", metric_ids)


def tag_value(keys: Sequence[int]) -> str:
    """Return the expression for a series' value under the first of those keys that it has; 0 for none."""
    found = [f"tag_values[indexOf(tag_keys, {int(key)})]" for key in keys]
    return found[0] if len(found) == 1 else f"arrayFirst(v -> v != 0, [{', '.join(found)}])"
