"""A parsed query -> its plan: entity, time, tenant, aggregates, keys and columns resolved. Pure.

Each step is a processor (shim/snql/processors); this module runs them in order, and says where in the text
something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from shim.catalog.types import Kind
from shim.errors import BadData
from shim.snql.aggregates import COLUMNS, PREFERRED, Measure, aggregate_name, kinds_of
from shim.snql.entities import Entity, entity_of, names_of
from shim.snql.lowered import DEFAULT_ROWS, MAX_ROWS, Lowered, Slot, StoredBuckets
from shim.snql.processors import time_series
from shim.snql.processors.function_names import MIRRORED
from shim.snql.processors.granularity import granularity
from shim.snql.processors.required_columns import narrowed
from shim.snql.processors.storage_selector import BucketSpan, select_storage
from shim.snql.syntax import (
    Aliased,
    ColumnRef,
    Constant,
    Expression,
    FunctionCall,
    SnqlQuery,
    TagRef,
    TupleOf,
)
from shim.snql.syntax_errors import place
from shim.snql.unparse import unparse
from shim.tenancy import Tenant

T = TypeVar("T")

#: Columns of series that are no tags.
SERIES_COLUMNS: Final = frozenset({"metric_id", "project_id", "org_id", "use_case_id"})
#: Seconds that a query reads back where it names no time.
DEFAULT_RANGE_S: Final = 86_400
#: From this range on (the seeds: 90 days), and below this granularity, an answer says what it would cost less.
_LONG_S: Final = 90 * 86_400
_FINE_S: Final = 3_600
_MAX_AGGREGATES: Final = 100
_MAX_KEYS: Final = 30
_MAX_COLUMNS: Final = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says beside the text of its query.

    `tenant`: the caller's. `orgs` and `projects`: what `tenant_ids` names. `from_s`, `to_s`: the time of a
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


@dataclass(slots=True)
class _Conditions:
    """WHERE, taken apart: what is joined by AND at its top."""

    from_s: int | None = None
    to_s: int | None = None
    granularity_s: int | None = None
    orgs: tuple[int, ...] | None = None
    projects: tuple[int, ...] | None = None
    series: list[Expression] = field(default_factory=list)


class _Lowering:
    def __init__(self, text: str, query: SnqlQuery, asked: Asked) -> None:
        self._text = text
        self._query = query
        self._asked = asked
        self._entity = self._found_entity()
        self._aliases: dict[str, Expression] = {}
        self._leaves: dict[StoredBuckets, list[Measure]] = {}  # by the leaf without measures
        self._slots: dict[Expression, tuple[StoredBuckets, int]] = {}

    def lowered(self) -> Lowered:
        query = self._query
        for item in (*query.select, *query.group_by):
            self._collect_aliases(item)
        conditions = _Conditions()
        if query.where is not None:
            self._take_apart(self._plain(query.where), conditions)
        step_s = self._step_s(conditions)
        by = [self._resolved(self._plain(key)) for key in query.group_by]
        output = self._output(by)
        self._find_aggregates([of for _, of in output], conditions)
        rest = [query.having, *(o.of for o in query.order_by), *(query.limit_by.of if query.limit_by else ())]
        plain = [self._plain(of) for of in rest if of is not None]
        self._find_aggregates(plain, conditions)
        keys, time_keys, bucket_s = self._keys([*by, *(of for _, of in output)], step_s)
        if not self._leaves and (keys or time_keys):
            self._leaf(self._all_kinds(), "", conditions.series)
        leaves = tuple(replace(leaf, measures=tuple(m)) for leaf, m in self._leaves.items())
        order = list(self._leaves)
        having = None if query.having is None else self._plain(query.having)
        limit_by = query.limit_by
        if limit_by is not None:
            limit_by = replace(limit_by, of=tuple(self._plain(of) for of in limit_by.of))
        span = self._span(conditions, bucket_s)
        return Lowered(
            self._text,
            self._tenant(conditions),
            span,
            leaves,
            {of: Slot(order.index(leaf), number) for of, (leaf, number) in self._slots.items()},
            tuple(keys),
            tuple(time_keys),
            tuple(output),
            {name: self._plain(of) for name, of in self._aliases.items()},
            having,
            tuple(replace(o, of=self._plain(o.of)) for o in query.order_by),
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
            raise self._error(source.at, f'unknown entity "{source.name}"', f"expected one of {', '.join(names)}")
        return found

    def _tenant(self, conditions: _Conditions) -> Tenant:
        orgs = conditions.orgs if conditions.orgs is not None else self._asked.orgs
        projects = conditions.projects if conditions.projects is not None else self._asked.projects
        if self._asked.orgs is not None:  # both must be inside the caller's
            narrowed(self._asked.tenant, self._asked.orgs, self._asked.projects, org_wide=True)
        org_wide = self._entity is not None and self._entity.org_wide
        return narrowed(self._asked.tenant, orgs, projects, org_wide=org_wide)

    def _step_s(self, conditions: _Conditions) -> int:
        """The seconds of a column of time: GRANULARITY, or the granularity."""
        clause = self._query.granularity
        if clause is not None and conditions.granularity_s is None:
            conditions.granularity_s = clause
        return clause or granularity(conditions.granularity_s)

    def _span(self, conditions: _Conditions, bucket_s: int) -> BucketSpan:
        asked = self._asked
        to_s = conditions.to_s if conditions.to_s is not None else asked.to_s
        to_s = asked.now_s if to_s is None else to_s
        from_s = conditions.from_s if conditions.from_s is not None else asked.from_s
        from_s = max(0, to_s - DEFAULT_RANGE_S) if from_s is None else from_s
        span = select_storage(
            from_s, max(from_s, to_s), bucket_s, granularity(conditions.granularity_s), asked.kept_from_s
        )
        if span.cells > asked.max_buckets:
            raise BadData(
                f"{span.cells} buckets of {bucket_s}s: expected at most {asked.max_buckets};"
                " read a shorter range or coarser buckets"
            )
        return span

    def _infos(self, range_s: int, granularity_s: int) -> tuple[str, ...]:
        if range_s >= _LONG_S and granularity_s < _FINE_S:
            return (
                f"{range_s // 86_400} days at a granularity of {granularity_s}s: {_FINE_S}s or more reads less",
            )
        return ()

    def _limit(self) -> int:
        limit = self._query.limit
        if limit is None:
            return DEFAULT_ROWS
        if limit > MAX_ROWS:
            raise BadData(f"LIMIT {limit}: expected at most {MAX_ROWS} rows")
        return limit

    # ------------------------------------------------------------ conditions

    def _take_apart(self, where: Expression, into: _Conditions) -> None:
        parts = where.args if isinstance(where, FunctionCall) and where.name == "and" else (where,)
        for part in parts:
            if not self._of_column(part, into):
                self._check_series(part)
                into.series.append(part)

    def _of_column(self, part: Expression, into: _Conditions) -> bool:
        """Take a condition on time, granularity, org or project; return False for another."""
        if not (isinstance(part, FunctionCall) and len(part.args) == 2):
            return False
        name, (left, right) = part.name, part.args
        if isinstance(left, Constant) and name in MIRRORED:
            name, left, right = MIRRORED[name], right, left
        left = self._resolved(left)
        if not isinstance(left, ColumnRef):
            return False
        if left.name in time_series.TIME_COLUMNS:
            self._take_time(name, left, right, into)
        elif left.name == "granularity":
            if name != "equals" or not isinstance(right, Constant) or type(right.value) is not int:
                raise self._error(part.at, "a condition on granularity", "expected granularity = N")
            into.granularity_s = right.value
            self._located(part, lambda: granularity(into.granularity_s))
        elif left.name in ("org_id", "project_id"):
            ids = self._ids(name, left, right)
            if ids is None:
                return False
            known = into.orgs if left.name == "org_id" else into.projects
            ids = ids if known is None else tuple(i for i in ids if i in known)
            if left.name == "org_id":
                into.orgs = ids
            else:
                into.projects = ids
                into.series.append(part)
        else:
            return False
        return True

    def _take_time(self, name: str, column: ColumnRef, right: Expression, into: _Conditions) -> None:
        at = self._located(column, lambda: time_series.time_s(right))
        later = {"greaterOrEquals": 0, "greater": 1, "equals": 0}.get(name)
        before = {"less": 0, "lessOrEquals": 1, "equals": 1}.get(name)
        if at is None or (later is None and before is None):
            raise self._error(
                column.at, f"a condition on {column.name}", "expected = < <= > or >= and a constant time"
            )
        if later is not None:
            into.from_s = max(at + later, into.from_s or 0)
        if before is not None:
            into.to_s = min(at + before, time_series.MAX_TIME_S if into.to_s is None else into.to_s)

    def _ids(self, name: str, left: ColumnRef, right: Expression) -> tuple[int, ...] | None:
        """The ids that a condition names; None for a condition of another form."""
        items = right.items if isinstance(right, TupleOf) and name == "in" else (right,)
        if name not in ("equals", "in"):
            return None
        ids = [item.value for item in items if isinstance(item, Constant)]
        if len(ids) != len(items) or not all(type(i) is int for i in ids):
            raise self._error(left.at, f"a condition on {left.name}", "expected whole numbers")
        return tuple(i for i in ids if isinstance(i, int))

    def _check_series(self, of: Expression) -> None:
        """Raise BadData where a condition on series has something that no series has."""
        for part in walk(of):
            if isinstance(part, ColumnRef) and part.name not in SERIES_COLUMNS:
                raise self._unknown_column(part)
            if isinstance(part, FunctionCall) and aggregate_name(part.name) is not None:
                raise self._error(part.at, f"{part.name}() in a condition on series", "expected it in HAVING")
            if isinstance(part, FunctionCall) and part.name in ("like", "notLike"):
                pattern = part.args[1] if len(part.args) == 2 else None
                if not (isinstance(pattern, Constant) and isinstance(pattern.value, str)):
                    raise self._error(part.at, "LIKE of something else", "expected a text as pattern")

    # ------------------------------------------------------------ names

    def _collect_aliases(self, of: Expression) -> None:
        for part in walk(of):
            if isinstance(part, Aliased):
                known = self._aliases.setdefault(part.name, part.of)
                if known != part.of:
                    raise self._error(part.at, f'"{part.name}" means two expressions', "expected one")

    def _resolved(self, of: Expression) -> Expression:
        """The expression that an alias means, plain."""
        seen: set[str] = set()
        while isinstance(of, ColumnRef) and of.name in self._aliases and of.name not in seen:
            seen.add(of.name)
            of = self._plain(self._aliases[of.name])
        return of

    def _plain(self, of: Expression, *, inside: bool = False) -> Expression:
        """The expression without aliases, with columns under their own names.

        `inside` an aggregate, a name that is no column is a metric where there is no entity; outside it is a tag.
        """
        match of:
            case Aliased():
                return self._plain(of.of, inside=inside)
            case FunctionCall():
                aggregate = aggregate_name(of.name)
                if aggregate is not None and of.args:
                    conditional = [self._plain(arg) for arg in of.args[1:]]
                    return replace(of, args=(self._plain(of.args[0], inside=True), *conditional))
                return replace(of, args=tuple(self._plain(arg, inside=inside) for arg in of.args))
            case TupleOf():
                return replace(of, items=tuple(self._plain(item, inside=inside) for item in of.items))
            case ColumnRef():
                return self._column(of, inside=inside)
        return of

    def _column(self, of: ColumnRef, *, inside: bool) -> Expression:
        source = self._query.source
        if source is not None and source.alias and of.name.startswith(f"{source.alias}."):
            return replace(of, name=of.name.removeprefix(f"{source.alias}."))
        if self._entity is not None or inside or of.name in self._aliases:
            return of
        if of.name in SERIES_COLUMNS | time_series.TIME_COLUMNS | {"granularity"}:
            return of
        return TagRef(of.name, raw=True, at=of.at)

    def _output(self, by: Sequence[Expression]) -> list[tuple[str, Expression]]:
        """The columns of the answer: keys of MATCH that are not selected come first."""
        out: list[tuple[str, Expression]] = []
        for item in self._query.select:
            name = item.name if isinstance(item, Aliased) else unparse(item)
            out.append((name, self._plain(item)))
        source = self._query.source
        if source is not None and not source.is_table:
            chosen = [self._resolved(of) for _, of in out]
            keys = [
                (item.name if isinstance(item, Aliased) else unparse(item), key)
                for item, key in zip(self._query.group_by, by, strict=True)
                if key not in chosen
            ]
            out = [*keys, *out]
        names = [name for name, _ in out]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BadData(f'two columns are called "{twice}": expected one, or an alias')
        if len(out) > _MAX_COLUMNS:
            raise BadData(f"{len(out)} columns: expected at most {_MAX_COLUMNS}")
        return out

    # ------------------------------------------------------------ aggregates

    def _find_aggregates(self, expressions: Sequence[Expression], conditions: _Conditions) -> None:
        for of in expressions:
            for part in walk(of):
                if isinstance(part, FunctionCall) and part not in self._slots:
                    self._take_aggregate(part, conditions)
        if len(self._slots) > _MAX_AGGREGATES:
            raise BadData(f"{len(self._slots)} aggregates: expected at most {_MAX_AGGREGATES}")

    def _take_aggregate(self, of: FunctionCall, conditions: _Conditions) -> None:
        named = aggregate_name(of.name)
        if named is None:
            return
        args = of.args
        series = list(conditions.series)
        if named.conditional:
            if len(args) != 2 and not (len(args) == 1 and named.function == "count"):
                raise self._error(of.at, f"{of.name}() of {len(args)} arguments", "expected a column, a condition")
            self._check_series(args[-1])
            series.append(args[-1])
            args = args[:-1]
        if len(args) > 1 or (not args and named.function != "count"):
            raise self._error(of.at, f"{of.name}() of {len(of.args)} arguments", "expected one column")
        column = args[0] if args else ColumnRef("count", of.at)
        if not isinstance(column, ColumnRef):
            raise self._error(of.at, f"{of.name}() of an expression", "expected a column")
        measure = Measure(named.function, self._levels(of, named.function))
        if self._entity is None:
            leaf = self._leaf(kinds_of(named.function), column.name, series)
        else:
            self._check_column(of, named.function, column, self._entity)
            leaf = self._leaf((self._entity.kind,), "", series)
        measures = self._leaves[leaf]
        if measure not in measures:
            measures.append(measure)
        self._slots[of] = leaf, measures.index(measure)

    def _leaf(self, kinds: Sequence[Kind], metric: str, series: Sequence[Expression]) -> StoredBuckets:
        condition = None
        if series:
            condition = series[0] if len(series) == 1 else FunctionCall("and", tuple(series), at=series[0].at)
        leaf = StoredBuckets(tuple(kinds), (), metric, condition, first_kind=bool(metric))
        same = next((one for one in self._leaves if replace(one, kinds=leaf.kinds) == leaf), None)
        if same is None:
            self._leaves[leaf] = []
            return leaf
        both = tuple(kind for kind in same.kinds if kind in leaf.kinds)
        if not both:
            raise BadData(
                f'aggregates of "{metric}" fit no stored type together:'
                f" {'|'.join(same.kinds)} beside {'|'.join(leaf.kinds)}"
            )
        if both != same.kinds:
            renamed = replace(same, kinds=both)
            self._leaves = {renamed if one == same else one: m for one, m in self._leaves.items()}
            self._slots = {of: (renamed if one == same else one, n) for of, (one, n) in self._slots.items()}
            return renamed
        return same

    def _all_kinds(self) -> tuple[Kind, ...]:
        if self._entity is not None:
            return (self._entity.kind,)
        return PREFERRED

    def _levels(self, of: FunctionCall, function: str) -> tuple[float, ...]:
        if function not in ("quantile", "quantiles"):
            if of.parameters:
                raise self._error(of.at, f"{of.name}() takes no parameters")
            return ()
        levels = [p.value for p in of.parameters if isinstance(p, Constant)]
        good = [float(q) for q in levels if isinstance(q, int | float) and not isinstance(q, bool) and 0 <= q <= 1]
        if len(good) != len(of.parameters) or not good or (function == "quantile" and len(good) != 1):
            accepted = "one number" if function == "quantile" else "numbers"
            raise self._error(of.at, f"{of.name}() with other parameters", f"expected {accepted} from 0 to 1")
        return tuple(good)

    def _check_column(self, of: FunctionCall, function: str, column: ColumnRef, entity: Entity) -> None:
        columns = COLUMNS[entity.kind]
        if function not in columns:
            raise self._error(of.at, f"{of.name}() of {entity.name}", f"expected {', '.join(sorted(columns))}")
        if column.name not in columns[function]:
            known = ", ".join(sorted(columns[function]))
            raise self._error(column.at, f"{of.name}() of {column.name} in {entity.name}", f"expected {known}")

    # ------------------------------------------------------------ keys

    def _keys(
        self, expressions: Sequence[Expression], step_s: int
    ) -> tuple[list[Expression], list[Expression], int]:
        """Keys over series, keys of time, and the seconds of a cell."""
        keys: dict[Expression, None] = {}
        times: dict[Expression, int] = {}
        for given in expressions:
            of = self._resolved(given)
            self._key(of, keys, times, step_s, top=True)
        if len(set(times.values())) > 1:
            raise BadData("buckets of two lengths in one query: expected one function of time")
        if len(keys) > _MAX_KEYS:
            raise BadData(f"{len(keys)} keys: expected at most {_MAX_KEYS}")
        return list(keys), list(times), next(iter(times.values()), 0)

    def _key(
        self, of: Expression, keys: dict[Expression, None], times: dict[Expression, int], step_s: int, *, top: bool
    ) -> None:
        of = self._resolved(of)
        seconds = self._located(of, lambda: time_series.bucket_s(of, step_s))
        if seconds is not None:
            times[of] = seconds
            return
        parts = list(walk(of))
        if not any(isinstance(part, TagRef | ColumnRef) for part in parts):
            return  # a constant
        mixed = any(
            (isinstance(part, FunctionCall) and aggregate_name(part.name) is not None)
            or (isinstance(part, ColumnRef) and (part.name in self._aliases or part.name in time_series.TIME_COLUMNS))
            for part in parts
        )
        if not mixed:
            self._check_series(of)
            keys[of] = None
            return
        if isinstance(of, FunctionCall) and aggregate_name(of.name) is None:
            for arg in of.args:
                self._key(arg, keys, times, step_s, top=False)

    # ------------------------------------------------------------ errors

    def _error(self, at: int, problem: str, accepted: str = "") -> BadData:
        return BadData(f"{problem} at {place(self._text, at)}" + (f": {accepted}" if accepted else ""))

    def _unknown_column(self, of: ColumnRef) -> BadData:
        known = ", ".join(sorted(SERIES_COLUMNS | {"timestamp", "granularity"}))
        return self._error(of.at, f'unknown column "{of.name}"', f"expected tags[key], {known}")

    def _located(self, of: Expression, call: Callable[[], T]) -> T:
        """Call, and say of what is refused where it stands."""
        try:
            return call()
        except (time_series.NotATimeError, BadData) as e:
            raise BadData(f"{e} (at {place(self._text, of.at)})") from None


def walk(of: Expression) -> Iterator[Expression]:
    """Yield an expression and all its parts."""
    waiting = [of]
    while waiting:
        part = waiting.pop()
        yield part
        match part:
            case Aliased():
                waiting.append(part.of)
            case FunctionCall():
                waiting += part.args
            case TupleOf():
                waiting += part.items
