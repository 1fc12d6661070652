"""WHERE taken apart: time, granularity, org and project, and the rest as a condition on series. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from shim.snql.name_scope import NameScope
from shim.snql.processors import time_series
from shim.snql.processors.function_names import MIRRORED
from shim.snql.processors.granularity import granularity
from shim.snql.syntax import ColumnRef, Constant, Expression, FunctionCall, TupleOf


@dataclass(slots=True)
class Conditions:
    """The conditions that AND joins at the top of WHERE."""

    from_s: int | None = None
    to_s: int | None = None
    granularity_s: int | None = None
    orgs: tuple[int, ...] | None = None
    projects: tuple[int, ...] | None = None
    places: dict[str, int] = field(default_factory=dict)  # of conditions on org_id and project_id
    series: list[Expression] = field(default_factory=list)


def take_apart(where: Expression, scope: NameScope) -> Conditions:
    """Sort the conditions of WHERE. Raises BadData."""
    into = Conditions()
    taking = _Taking(scope)
    parts = where.args if isinstance(where, FunctionCall) and where.name == "and" else (where,)
    for part in parts:
        if not taking.of_column(part, into):
            scope.check_series(part)
            into.series.append(part)
    return into


@dataclass(frozen=True, slots=True)
class _Taking:
    scope: NameScope

    def of_column(self, part: Expression, into: Conditions) -> bool:
        """Take a condition on time, granularity, org or project; return False for another."""
        if not (isinstance(part, FunctionCall) and len(part.args) == 2):
            return False
        name, (left, right) = part.name, part.args
        if isinstance(left, Constant) and name in MIRRORED:
            name, left, right = MIRRORED[name], right, left
        left = self.scope.resolved(left)
        if not isinstance(left, ColumnRef):
            return False
        if left.name in time_series.TIME_COLUMNS:
            self._take_time(name, left, right, into)
        elif left.name == "granularity":
            if name != "equals" or not isinstance(right, Constant) or type(right.value) is not int:
                raise self.scope.error(part.at, "a condition on granularity", "expected granularity = N")
            into.granularity_s = right.value
            self.scope.located(part, lambda: granularity(into.granularity_s))
        elif left.name in ("org_id", "project_id"):
            ids = self._ids(name, left, right)
            if ids is None:
                return False
            known = into.orgs if left.name == "org_id" else into.projects
            ids = ids if known is None else tuple(i for i in ids if i in known)
            into.places[left.name] = part.at
            if left.name == "org_id":
                into.orgs = ids
            else:
                into.projects = ids
                into.series.append(part)
        else:
            return False
        return True

    def _take_time(self, name: str, column: ColumnRef, right: Expression, into: Conditions) -> None:
        at = self.scope.located(column, lambda: time_series.time_s(right))
        later = {"greaterOrEquals": 0, "greater": 1, "equals": 0}.get(name)
        before = {"less": 0, "lessOrEquals": 1, "equals": 1}.get(name)
        if at is None or (later is None and before is None):
            raise self.scope.error(
                column.at, f"a condition on {column.name}", "expected = < <= > or >= and a constant time"
            )
        if later is not None:
            into.from_s = max(at + later, into.from_s or 0)
        if before is not None:
            into.to_s = min(at + before, time_series.MAX_TIME_S if into.to_s is None else into.to_s)

    def _ids(self, name: str, left: ColumnRef, right: Expression) -> tuple[int, ...] | None:
        """Return the ids that a condition names; None for a condition of another form."""
        items = right.items if isinstance(right, TupleOf) and name == "in" else (right,)
        if name not in ("equals", "in"):
            return None
        ids = [item.value for item in items if isinstance(item, Constant)]
        if len(ids) != len(items) or not all(type(i) is int for i in ids):
            raise self.scope.error(left.at, f"a condition on {left.name}", "expected whole numbers")
        return tuple(i for i in ids if isinstance(i, int))
