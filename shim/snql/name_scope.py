"""The names of a query: aliases, columns, tags and metrics, and their places in the text. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, TypeVar

from shim.model.errors import BadData
from shim.snql.aggregates import aggregate_name
from shim.snql.entities import Entity
from shim.snql.processors import time_series
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

T = TypeVar("T")

#: Columns of series that are no tags.
SERIES_COLUMNS: Final = frozenset({"metric_id", "project_id", "org_id", "use_case_id"})


class NameScope:
    """The names of one query. `entity`: None where the query names none."""

    def __init__(self, text: str, query: SnqlQuery, entity: Entity | None) -> None:
        self._text = text
        self._query = query
        self.entity = entity
        self.aliases: dict[str, Expression] = {}
        for item in (*query.select, *query.group_by):
            self._collect_aliases(item)

    def _collect_aliases(self, of: Expression) -> None:
        for part in walk(of):
            if isinstance(part, Aliased):
                known = self.aliases.setdefault(part.name, part.of)
                if known != part.of:
                    raise self.error(part.at, f'"{part.name}" means two expressions', "expected one")

    def resolved(self, of: Expression) -> Expression:
        """Return the expression that an alias means, plain."""
        seen: set[str] = set()
        while isinstance(of, ColumnRef) and of.name in self.aliases and of.name not in seen:
            seen.add(of.name)
            of = self.plain(self.aliases[of.name])
        return of

    def plain(self, of: Expression, *, inside: bool = False) -> Expression:
        """Return the expression without aliases, with columns under their own names.

        Without an entity, a name `inside` an aggregate is a metric, and outside one a tag.
        """
        match of:
            case Aliased():
                return self.plain(of.of, inside=inside)
            case FunctionCall():
                aggregate = aggregate_name(of.name)
                if aggregate is not None and of.args:
                    conditional = [self.plain(arg) for arg in of.args[1:]]
                    return replace(of, args=(self.plain(of.args[0], inside=True), *conditional))
                return replace(of, args=tuple(self.plain(arg, inside=inside) for arg in of.args))
            case TupleOf():
                return replace(of, items=tuple(self.plain(item, inside=inside) for item in of.items))
            case ColumnRef():
                return self._column(of, inside=inside)
        return of

    def _column(self, of: ColumnRef, *, inside: bool) -> Expression:
        source = self._query.source
        if source is not None and source.alias and of.name.startswith(f"{source.alias}."):
            return replace(of, name=of.name.removeprefix(f"{source.alias}."))
        if self.entity is not None or inside or of.name in self.aliases:
            return of
        if of.name in SERIES_COLUMNS | time_series.TIME_COLUMNS | {"granularity"}:
            return of
        return TagRef(of.name, raw=True, at=of.at)

    @property
    def series_columns(self) -> frozenset[str]:
        """The columns of series that are no tags."""
        return SERIES_COLUMNS if self.entity is None else SERIES_COLUMNS | self.entity.columns

    def check_series(self, of: Expression) -> None:
        """Raise BadData where a condition on series has something that no series has."""
        for part in walk(of):
            if isinstance(part, ColumnRef) and part.name not in self.series_columns:
                raise self._unknown_column(part)
            if isinstance(part, FunctionCall) and aggregate_name(part.name) is not None:
                raise self.error(part.at, f"{part.name}() in a condition on series", "expected it in HAVING")
            if isinstance(part, FunctionCall) and part.name in ("like", "notLike"):
                pattern = part.args[1] if len(part.args) == 2 else None
                if not (isinstance(pattern, Constant) and isinstance(pattern.value, str)):
                    raise self.error(part.at, "LIKE of something else", "expected a text as pattern")

    def error(self, at: int, problem: str, accepted: str = "") -> BadData:
        """Return the error of a place in the text, with the accepted alternatives."""
        return BadData(f"{problem} at {place(self._text, at)}" + (f": {accepted}" if accepted else ""))

    def _unknown_column(self, of: ColumnRef) -> BadData:
        if of.name in time_series.TIME_COLUMNS | {"granularity"}:
            return self.error(of.at, f"{of.name} in a condition on series", "expected it joined by AND alone")
        known = ", ".join(sorted(self.series_columns))
        return self.error(of.at, f'unknown column "{of.name}"', f"expected tags[key], {known}")

    def located(self, of: Expression, call: Callable[[], T]) -> T:
        """Call, and add the place in the text to an error."""
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
