"""The series of a plan's leaf: selected in the catalog, sieved by its condition, gathered into groups.

Series are looked at in columns; a tag's text is compared once for each distinct text where it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from indexer.intern.use_case import USE_CASE_TAG
from shim.catalog.names import PROJECT, is_id
from shim.catalog.selection import PickedSeries
from shim.catalog.types import Days, Kind, Part
from shim.model.errors import ExecutionError
from shim.model.labels import NAME, TYPE, USE_CASE
from shim.model.matchers import Matcher
from shim.model.numeric_labels import LE, QUANTILE
from shim.model.tenancy import Tenant
from shim.model.values import Ints
from shim.read.reader import Keys
from shim.snql.columns import ColumnType, ResultColumn, objects, texts
from shim.snql.expressions import Complain, Evaluation
from shim.snql.lowered import StoredBuckets
from shim.snql.processors.tags import META, METRIC_NAME, Texts, tag_key, with_texts
from shim.snql.scalar_functions import like_pattern, literal_pattern
from shim.snql.syntax import ColumnRef, Constant, Expression, FunctionCall, TagRef, TupleOf

#: Selects series in columns: (tenant, matchers, days).
Pick = Callable[[Tenant, Sequence[Matcher], Days], Sequence[PickedSeries]]
#: Labels that a selector gives a meaning of their own: tags of these names are looked at here alone.
_MEANT: Final = frozenset({NAME, TYPE, USE_CASE, LE, QUANTILE, PROJECT})


@dataclass(slots=True)
class GroupNumbers:
    """The groups of all leaves of a query: each distinct tuple of keys has a number. At most `max_groups`."""

    max_groups: int
    numbers: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def of(self, rows: Iterable[tuple[Any, ...]]) -> Ints:
        """Return the number of each tuple. Raises ExecutionError."""
        known = self.numbers
        found = np.array([known.setdefault(row, len(known)) for row in rows], dtype=np.int64)
        if len(known) > self.max_groups:
            raise ExecutionError(
                f"{len(known)} groups: expected at most {self.max_groups}; group by fewer keys"
            )
        return found


@dataclass(frozen=True, slots=True)
class Grouped:
    """Series of one type, each with the number of its group."""

    kind: Kind
    part: Part
    keys: Keys  # local groups
    numbers: Ints  # of each local group


@dataclass(frozen=True, slots=True)
class SeriesSelector:
    """Selects the series of leaves and gives them groups."""

    tenant: Tenant
    days: Days
    pick: Pick
    texts: Texts
    complain: Complain
    check_time: Callable[[], None]  # raises TimedOut past the deadline
    infos: list[str] = field(default_factory=list)
    types: dict[Expression, ColumnType] = field(default_factory=dict)  # of keys, as series gave them

    def select(self, leaf: StoredBuckets, keys: Sequence[Expression], groups: GroupNumbers) -> list[Grouped]:
        """Return the series of a leaf, by type. Raises QueryError."""
        condition = None if leaf.condition is None else with_texts(leaf.condition, self.texts)
        matchers = [Matcher(NAME, "=", leaf.metric)] if leaf.metric else []
        matchers += [] if condition is None else self._pushed(condition)
        picked = [p for p in self.pick(self.tenant, matchers, self.days) if not p.target.view]
        picked = self._of_kinds(picked, leaf)
        found: dict[Kind, list[tuple[PickedSeries, np.ndarray[Any, Any], Ints]]] = {}
        for one in picked:
            self.check_time()
            rows = one.rows
            columns = _Columns(one, rows, self)
            if condition is not None:
                met = columns.evaluation().column(condition).truths()
                if not met.all():
                    rows = rows[met]
                    columns = _Columns(one, rows, self)
            if len(rows):
                tuples = self._tuples(columns, keys)
                found.setdefault(one.kind, []).append((one, rows, groups.of(tuples)))
        return [_grouped(kind, members) for kind, members in found.items()]

    def _of_kinds(self, picked: Sequence[PickedSeries], leaf: StoredBuckets) -> list[PickedSeries]:
        there = {p.kind for p in picked}
        kinds = [kind for kind in leaf.kinds if kind in there]
        if leaf.first_kind:
            if there and not kinds:
                raise self.complain(
                    ColumnRef(leaf.metric, leaf.at),
                    f'"{leaf.metric}" is a {" and a ".join(sorted(there))}:'
                    f" {', '.join(map(str, leaf.measures))} is for a {' or a '.join(leaf.kinds)}",
                )
            if len(kinds) > 1:
                self.infos.append(
                    f'metric "{leaf.metric}" is a {" and a ".join(kinds)}: the {kinds[0]} answers'
                )
            kinds = kinds[:1]
        return [p for p in picked if p.kind in kinds]

    def _tuples(self, columns: _Columns, keys: Sequence[Expression]) -> Iterable[tuple[Any, ...]]:
        if not keys:
            return [()] * len(columns.rows)
        run = columns.evaluation()
        found = [run.column(with_texts(key, self.texts)) for key in keys]
        self.types.update((key, column.type) for key, column in zip(keys, found, strict=True))
        return zip(*(column.values.tolist() for column in found), strict=True)

    def count_tags(
        self, leaf: StoredBuckets, keys: Sequence[Expression], groups: GroupNumbers
    ) -> tuple[Ints, npt.NDArray[np.float64]]:
        """Return the groups of the tags of a leaf's series, and the number of series of each."""
        condition = None if leaf.condition is None else with_texts(leaf.condition, self.texts)
        matchers = [] if condition is None else self._pushed(condition)
        counts: dict[int, int] = {}
        for one in self.pick(self.tenant, matchers, self.days):
            self.check_time()
            if one.target.view or one.kind not in leaf.kinds:
                continue
            for stored in one.keys:
                rows = one.rows[one.roster.columns[stored].codes[one.rows] != 0]
                columns = _Columns(one, rows, self, stored)
                if condition is not None:
                    rows = rows[columns.evaluation().column(condition).truths()]
                    columns = _Columns(one, rows, self, stored)
                if len(rows):
                    for number in groups.of(self._tuples(columns, keys)).tolist():
                        counts[number] = counts.get(number, 0) + 1
        return np.array(list(counts), dtype=np.int64), np.array(list(counts.values()), dtype=np.float64)

    # ------------------------------------------------------------ matchers for the catalog

    def _pushed(self, condition: Expression) -> list[Matcher]:
        """Return matchers that every series of a condition meets, among others."""
        parts = (
            condition.args if isinstance(condition, FunctionCall) and condition.name == "and" else [condition]
        )
        return [m for part in parts if isinstance(part, FunctionCall) for m in self._matcher(part)]

    def _matcher(self, part: FunctionCall) -> list[Matcher]:
        if len(part.args) != 2 or part.name not in ("equals", "in", "like"):
            return []
        left, right = part.args
        values = _constants(right)
        if values is None:
            return []
        if isinstance(left, TagRef) and isinstance(left.key, str) and left.key not in _MEANT and left.key:
            name = left.key
            values = [v for v in values if isinstance(v, str)]
        elif left == ColumnRef("metric_id"):
            name, ids = NAME, [v for v in values if isinstance(v, int)]
            known = self.texts(ids)
            values = [known[i] for i in ids]
        elif left == ColumnRef(METRIC_NAME):
            name = NAME
        elif left == ColumnRef("use_case_id"):
            name = USE_CASE
        elif left == ColumnRef("project_id") and self.tenant.project_id is None:
            name, values = PROJECT, [str(v) for v in values]
        else:
            return []
        found = [str(v) for v in values]
        if part.name == "like":
            return [Matcher(name, "=~", like_pattern(found[0]))] if found else []
        if len(found) == 1:
            return [Matcher(name, "=", found[0])]
        return [Matcher(name, "=~", "|".join(map(literal_pattern, found)))] if found else []


def _constants(of: Expression) -> list[Any] | None:
    items = of.items if isinstance(of, TupleOf) else (of,)
    values = [item.value for item in items if isinstance(item, Constant)]
    return values if len(values) == len(items) else None


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of some series of one metric."""

    picked: PickedSeries
    rows: np.ndarray[Any, Any]
    of: SeriesSelector
    tag: str = ""  # whose key and value are columns

    def evaluation(self) -> Evaluation:
        return Evaluation(len(self.rows), {}, self.of.complain, load=self.load)

    def load(self, expression: Expression) -> ResultColumn | None:
        """Return the column of a tag or of a series' own column."""
        size = len(self.rows)
        match expression:
            case TagRef():
                return self._tag(tag_key(expression, self.of.texts))
            case ColumnRef(name="tag_key"):
                return texts([self.tag] * size)
            case ColumnRef(name="tag_value"):
                return self._tag(self.tag)
            case ColumnRef(name="metric_id"):
                return ResultColumn("UInt64", objects([self.picked.target.metric.id] * size))
            case ColumnRef(name="project_id"):
                return ResultColumn("UInt64", objects(self.picked.roster.project_ids[self.rows].tolist()))
            case ColumnRef(name="org_id"):
                return ResultColumn("UInt64", objects([self.of.tenant.org_id] * size))
            case ColumnRef(name="use_case_id"):
                return self._use_case()
            case ColumnRef(name="metric.name"):
                return texts([self.picked.target.metric.name] * size)
        return None

    def _use_case(self) -> ResultColumn:
        own = self.picked.target.metric.use_case
        column = self.picked.roster.columns.get(USE_CASE_TAG)
        if column is None:
            return texts([own] * len(self.rows))
        found = objects(column.texts)[column.codes[self.rows]]
        return ResultColumn("String", np.where(found == "", own, found))

    def _tag(self, key: str) -> ResultColumn:
        roster = self.picked.roster
        stored = [
            name
            for name, known in self.picked.keys.items()
            if name in roster.columns and (name == key or known.answers_to(key))
        ]
        stored.sort(key=lambda name: (name != key, name))
        found: np.ndarray[Any, Any] | None = None
        for name in stored:
            column = roster.columns[name]
            values = objects(column.texts)[column.codes[self.rows]]
            found = values if found is None else np.where(found == "", values, found)
        return texts([""] * len(self.rows)) if found is None else ResultColumn("String", found)


def _grouped(kind: Kind, members: Sequence[tuple[PickedSeries, np.ndarray[Any, Any], Ints]]) -> Grouped:
    """Return one part of all metrics of a type."""
    ids = np.concatenate([one.roster.series_ids[rows] for one, rows, _ in members])
    projects = np.concatenate([one.roster.project_ids[rows] for one, rows, _ in members])
    numbers = np.concatenate([group for _, _, group in members])
    order = np.argsort(ids, kind="stable")
    distinct, local = np.unique(numbers[order], return_inverse=True)
    whole = all(one.whole and len(rows) == len(one.rows) for one, rows, _ in members)
    everything = whole and len(distinct) == 1
    metric_ids = tuple(dict.fromkeys(one.target.metric.id for one, _, _ in members))
    labels = [()] * len(ids)
    part = Part(kind, "", metric_ids, ids[order], projects[order], labels, whole and everything)
    keys = Keys([()] * len(distinct), np.asarray(local, dtype=np.int64), everything=everything)
    return Grouped(kind, part, keys, distinct)


def shown_key(of: Expression, column: ResultColumn) -> ResultColumn:
    """Show the values of a tag that was asked for by id as ids, if none has a string."""
    of_ids = isinstance(of, TagRef) and isinstance(of.key, int) and not of.raw
    if not of_ids and of not in META:
        return column
    values = column.values.tolist()
    if not any(values) or not all(is_id(v) for v in values if v):
        return column
    return ResultColumn("UInt64", objects([int(v) if v else 0 for v in values]))


def empty_type(of: Expression) -> ColumnType:
    """Return the type of a key's column if no series is selected."""
    match of:
        case ColumnRef(name="metric_id" | "project_id" | "org_id") | TagRef(key=int(), raw=False):
            return "UInt64"
    return "String"


def number_texts(
    texts_of: Callable[[int, Iterable[int]], tuple[Mapping[int, str], bool]], org_id: int
) -> Texts:
    """Make the look-up of an org's ids."""
    return lambda ids: texts_of(org_id, ids)[0]
