"""Expressions evaluated over columns. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from shim.model.errors import BadData
from shim.snql.columns import ColumnTypeError, ResultColumn, constant, flags
from shim.snql.processors.time_series import NotATimeError, time_s
from shim.snql.scalar_functions import FUNCTIONS, comparable
from shim.snql.syntax import Aliased, ColumnRef, Constant, Expression, FunctionCall, TupleOf

#: Makes the error for a problem with an expression, with its place in the query.
Complain = Callable[[Expression, str], BadData]


@dataclass(slots=True)
class Evaluation:
    """Evaluates expressions over `rows` rows.

    `known` are columns by the expression they are of; `aliases` are expressions by name; `load` gives the
    column of an expression that is neither, None for none.
    """

    rows: int
    known: dict[Expression, ResultColumn]
    complain: Complain
    aliases: Mapping[str, Expression] = field(default_factory=dict)
    load: Callable[[Expression], ResultColumn | None] = lambda _: None
    _open: set[str] = field(default_factory=set)  # aliases that are being evaluated

    def column(self, of: Expression) -> ResultColumn:
        """Return the values of an expression. Raises BadData."""
        found = self.known.get(of)
        if found is None:
            found = self.load(of)
            if found is None:
                found = self._made(of)
            self.known[of] = found
        return found

    def _made(self, of: Expression) -> ResultColumn:
        match of:
            case Aliased():
                return self.column(of.of)
            case Constant():
                return constant(of.value, self.rows)
            case FunctionCall():
                return self._call(of)
            case ColumnRef() if of.name in self.aliases:
                if of.name in self._open:
                    raise self.complain(of, f'"{of.name}" means itself')
                self._open.add(of.name)
                try:
                    return self.column(self.aliases[of.name])
                finally:
                    self._open.discard(of.name)
            case TupleOf():
                raise self.complain(of, "a list is the right side of IN alone")
        raise self.complain(of, "not one of what rows are grouped by: expected an aggregate or a key of BY")

    def _call(self, of: FunctionCall) -> ResultColumn:
        if of.name in ("in", "notIn"):
            return self._within(of)
        if of.name in ("toDateTime", "toDateTime64"):
            return self._time(of)
        function = FUNCTIONS.get(of.name)
        if function is None:
            raise self.complain(of, f"unknown function {of.name}()")
        if of.parameters:
            raise self.complain(of, f"{of.name}() takes no parameters")
        count = len(of.args)
        if count < function.min_args or (function.max_args is not None and count > function.max_args):
            upper = "more" if function.max_args is None else function.max_args
            raise self.complain(
                of, f"{of.name}() of {count} arguments: expected {function.min_args} to {upper}"
            )
        args = [self.column(arg) for arg in of.args]
        try:
            return function.call(args)
        except ColumnTypeError as e:
            raise self.complain(of, f"{of.name}() of {e}") from None

    def _within(self, of: FunctionCall) -> ResultColumn:
        if len(of.args) != 2 or not isinstance(of.args[1], TupleOf):
            raise self.complain(of, "IN of something else: expected a list")
        value = self.column(of.args[0])
        items = of.args[1].items
        if not all(isinstance(item, Constant) for item in items):
            raise self.complain(of, "IN of something else: expected a list of constants")
        wanted = {item.value for item in items if isinstance(item, Constant)}
        if wanted:
            first = next(iter(wanted))
            try:
                comparable(value, constant(first, self.rows))
            except ColumnTypeError as e:
                raise self.complain(of, f"IN of {e}") from None
        met = np.array([v in wanted for v in value.values.tolist()], dtype=bool)
        return flags(met if of.name == "in" else ~met)

    def _time(self, of: FunctionCall) -> ResultColumn:
        try:
            seconds = time_s(of)
        except NotATimeError as e:
            raise self.complain(of, str(e)) from None
        if seconds is None:
            raise self.complain(of, f"{of.name}() of something else: expected a constant")
        return ResultColumn("DateTime", np.full(self.rows, seconds, dtype=np.int64))
