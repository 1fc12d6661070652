"""A parsed query -> its plan: entity, time, tenant, aggregates, keys and columns resolved. Pure.

Each step is a processor (shim/snql/processors); this module runs them in order, and says where in the text
something is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from shim.model.errors import BadData, Forbidden
from shim.model.fine_ranges import fine_range, is_fine_range
from shim.model.tenancy import Tenant
from shim.snql.aggregate_leaves import AggregateLeaves
from shim.snql.aggregates import aggregate_name
from shim.snql.entities import Entity, entity_of, names_of
from shim.snql.lowered import DEFAULT_ROWS, MAX_ROWS, Lowered
from shim.snql.name_scope import NameScope, walk
from shim.snql.processors import time_series
from shim.snql.processors.granularity import granularity
from shim.snql.processors.required_columns import narrowed
from shim.snql.processors.storage_selector import BucketSpan, select_storage
from shim.snql.syntax import Aliased, ColumnRef, Expression, FunctionCall, Ordering, SnqlQuery, TagRef
from shim.snql.syntax_errors import misplaced, place
from shim.snql.unparse import unparse
from shim.snql.where import Conditions, take_apart

#: Seconds that a query reads back where it names no time.
DEFAULT_RANGE_S: Final = 86_400
_MAX_KEYS: Final = 30
_MAX_COLUMNS: Final = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of a request other than its query's text.

    `tenant`: the caller's. `orgs` and `projects`: the ids in `tenant_ids`. `from_s`, `to_s`: the time of a
    query that names none.
    """

    tenant: Tenant
    now_s: int
    dataset: str = "metrics"
    orgs: tuple[int, ...] | None = None
    projects: tuple[int, ...] | None = None
    from_s: int | None = None
    to_s: int | None = None
    kept_from_s: Sequence[tuple[int, int]] = ()
    max_buckets: int = 11_000


def lower(text: str, query: SnqlQuery, asked: Asked) -> Lowered:
    """Make the plan of a query. Raises BadData, Forbidden."""
    return _Lowering(text, query, asked).lowered()


class _Lowering:
    def __init__(self, text: str, query: SnqlQuery, asked: Asked) -> None:
        self._text = text
        self._query = query
        self._asked = asked
        self._entity = self._found_entity()
        self._scope = NameScope(text, query, self._entity)

    def lowered(self) -> Lowered:
        query, plain = self._query, self._scope.plain
        _check_lengths(self._text, query)
        conditions = Conditions() if query.where is None else take_apart(plain(query.where), self._scope)
        step_s = self._step_s(conditions)
        by = [self._scope.resolved(plain(key)) for key in query.group_by]
        output = self._output(by)
        having = None if query.having is None else plain(query.having)
        order_by = tuple(replace(o, of=plain(o.of)) for o in query.order_by)
        limit_by = query.limit_by
        if limit_by is not None:
            limit_by = replace(limit_by, of=tuple(map(plain, limit_by.of)))
        aggregates = AggregateLeaves(self._scope, conditions.series)
        aggregates.find([of for _, of in output])
        aggregates.find([*([having] if having is not None else []), *(o.of for o in order_by)])
        keys, time_keys, bucket_s = self._keys([*by, *(of for _, of in output)], step_s)
        if not aggregates and (keys or time_keys):
            aggregates.add_presence()
        if time_keys and self._entity is not None and self._entity.meta:
            name = self._entity.name
            raise self._scope.error(time_keys[0].at, f"{name} has no buckets of time", "expected other keys")
        span = self._span(conditions, bucket_s, time_keys[0].at if time_keys else 0)
        return Lowered(
            self._text,
            self._tenant(conditions),
            span,
            aggregates.leaves,
            aggregates.slots,
            tuple(keys),
            tuple(time_keys),
            tuple(output),
            {name: plain(of) for name, of in self._scope.aliases.items()},
            having,
            order_by,
            limit_by,
            self._limit(),
            query.offset,
            query.totals,
            self._infos(span.hi_s - span.lo_s, span.granularity_s),
        )

    # ------------------------------------------------------------ entity, tenant, time

    def _found_entity(self) -> Entity | None:
        source = self._query.source
        if source is None:
            return None
        found = entity_of(source.name, is_table=source.is_table)
        names = names_of(self._asked.dataset)
        if found is None or found.name not in names:
            raise misplaced(
                self._text,
                source.at,
                f'unknown entity "{source.name}"',
                f"expected one of {', '.join(names)}",
            )
        return found

    def _tenant(self, conditions: Conditions) -> Tenant:
        orgs = conditions.orgs if conditions.orgs is not None else self._asked.orgs
        projects = conditions.projects if conditions.projects is not None else self._asked.projects
        if self._asked.orgs is not None:  # both must be inside the caller's
            narrowed(self._asked.tenant, self._asked.orgs, self._asked.projects, org_wide=True)
        org_wide = self._entity is not None and self._entity.org_wide
        source, places = self._query.source, conditions.places
        self._narrowed(places.get("org_id"), orgs, None, org_wide=True)
        at = places.get("project_id")
        if projects is None:
            at = source.at if source is not None else 0
        return self._narrowed(at, orgs, projects, org_wide=org_wide)

    def _narrowed(
        self, at: int | None, orgs: Sequence[int] | None, projects: Sequence[int] | None, *, org_wide: bool
    ) -> Tenant:
        """Return the tenant of some ids; an error names their place in the text, where they are from it."""
        try:
            return narrowed(self._asked.tenant, orgs, projects, org_wide=org_wide)
        except (BadData, Forbidden) as e:
            if at is None:
                raise
            raise type(e)(f"{e} (at {place(self._text, at)})") from None

    def _step_s(self, conditions: Conditions) -> int:
        """Return the seconds of a column of time: GRANULARITY, or the granularity."""
        clause = self._query.granularity
        if clause is not None and conditions.granularity_s is None:
            conditions.granularity_s = clause
        _, at = self._query.places
        meant = self._scope.located(
            ColumnRef("granularity", at), lambda: granularity(conditions.granularity_s)
        )
        return clause or meant

    def _span(self, conditions: Conditions, bucket_s: int, at: int) -> BucketSpan:
        asked = self._asked
        to_s = conditions.to_s if conditions.to_s is not None else asked.to_s
        to_s = asked.now_s if to_s is None else to_s
        from_s = conditions.from_s if conditions.from_s is not None else asked.from_s
        from_s = max(0, to_s - DEFAULT_RANGE_S) if from_s is None else from_s
        span = select_storage(
            from_s, max(from_s, to_s), bucket_s, granularity(conditions.granularity_s), asked.kept_from_s
        )
        if span.cells > asked.max_buckets:
            accepted = f"expected at most {asked.max_buckets}; read a shorter range or coarser buckets"
            raise self._scope.error(at, f"{span.cells} buckets of {bucket_s}s", accepted)
        return span

    def _infos(self, range_s: int, granularity_s: int) -> tuple[str, ...]:
        return (fine_range(range_s, granularity_s),) if is_fine_range(range_s, granularity_s) else ()

    def _limit(self) -> int:
        limit = self._query.limit
        if limit is None:
            return DEFAULT_ROWS
        if limit > MAX_ROWS:
            at, _ = self._query.places
            raise self._scope.error(at, f"LIMIT {limit}", f"expected at most {MAX_ROWS} rows")
        return limit

    def _output(self, by: Sequence[Expression]) -> list[tuple[str, Expression]]:
        """Return the columns of the answer: keys of MATCH that are not selected come first."""
        out: list[tuple[str, Expression]] = []
        for item in self._query.select:
            name = item.name if isinstance(item, Aliased) else unparse(item)
            out.append((name, self._scope.plain(item)))
        source = self._query.source
        if source is not None and not source.is_table:
            chosen = [self._scope.resolved(of) for _, of in out]
            keys = [
                (item.name if isinstance(item, Aliased) else unparse(item), key)
                for item, key in zip(self._query.group_by, by, strict=True)
                if key not in chosen
            ]
            out = [*keys, *out]
        names: set[str] = set()
        for name, of in out:
            if name in names:
                raise self._scope.error(
                    of.at, f'two columns are called "{name}"', "expected one, or an alias"
                )
            names.add(name)
        return out

    # ------------------------------------------------------------ keys

    def _keys(
        self, expressions: Sequence[Expression], step_s: int
    ) -> tuple[list[Expression], list[Expression], int]:
        """Return keys over series, keys of time, and the seconds of a cell."""
        keys: dict[Expression, None] = {}
        times: dict[Expression, int] = {}
        seen: set[Expression] = set()  # an alias of an alias would be met twice as often at each turn
        for given in expressions:
            self._key(given, keys, times, seen, step_s)
        first_s = next(iter(times.values()), 0)
        other = next((of for of, seconds in times.items() if seconds != first_s), None)
        if other is not None:
            problem = "buckets of two lengths in one query"
            raise self._scope.error(other.at, problem, "expected one function of time")
        if len(keys) > _MAX_KEYS:
            at = list(keys)[_MAX_KEYS].at
            raise self._scope.error(at, f"{len(keys)} keys", f"expected at most {_MAX_KEYS}")
        return list(keys), list(times), first_s

    def _key(
        self,
        of: Expression,
        keys: dict[Expression, None],
        times: dict[Expression, int],
        seen: set[Expression],
        step_s: int,
    ) -> None:
        of = self._scope.resolved(of)
        if of in seen:
            return
        seen.add(of)
        seconds = self._scope.located(of, lambda: time_series.bucket_s(of, step_s))
        if seconds is not None:
            times[of] = seconds
            return
        parts = list(walk(of))
        if not any(isinstance(part, TagRef | ColumnRef) for part in parts):
            return  # a constant
        mixed = any(
            (isinstance(part, FunctionCall) and aggregate_name(part.name) is not None)
            or (
                isinstance(part, ColumnRef)
                and (part.name in self._scope.aliases or part.name in time_series.TIME_COLUMNS)
            )
            for part in parts
        )
        if not mixed:
            self._scope.check_series(of)
            keys[of] = None
            return
        if isinstance(of, FunctionCall) and aggregate_name(of.name) is None:
            for arg in of.args:
                self._key(arg, keys, times, seen, step_s)


def _check_lengths(text: str, query: SnqlQuery) -> None:
    """Raise BadData where a clause has more expressions than are worked on."""
    limit_by = query.limit_by.of if query.limit_by is not None else ()
    clauses: tuple[tuple[str, Sequence[Expression | Ordering], int], ...] = (
        ("columns", query.select, _MAX_COLUMNS),
        ("keys of BY", query.group_by, _MAX_KEYS),
        ("keys of ORDER BY", query.order_by, _MAX_KEYS),
        ("keys of LIMIT BY", limit_by, _MAX_KEYS),
    )
    for what, of, most in clauses:
        if len(of) > most:
            first = of[most]
            at = first.of.at if isinstance(first, Ordering) else first.at
            raise misplaced(text, at, f"{len(of)} {what}", f"expected at most {most}")
