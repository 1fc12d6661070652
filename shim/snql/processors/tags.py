"""The tags transformer: ids in a query become the strings that series are known by. Pure.

A number is an id of the indexer. An id without a string is known by its digits, as the seeds' own messages
send them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from shim.snql.processors.function_names import COMPARISONS
from shim.snql.syntax import ColumnRef, Constant, Expression, FunctionCall, TagRef, TupleOf

#: The strings of ids.
Texts = Callable[[Iterable[int]], Mapping[int, str]]


def with_texts(of: Expression, texts: Texts) -> Expression:
    """Return a condition with texts for the ids that tags are compared with, and for the keys of tags."""
    match of:
        case TagRef():
            return replace(of, key=tag_key(of, texts), raw=True)
        case FunctionCall() if of.name in COMPARISONS and len(of.args) == 2:
            sides = [with_texts(arg, texts) for arg in of.args]
            if any(isinstance(side, TagRef) or side in META for side in sides):
                sides = [_as_text(side, texts) for side in sides]
            elif any(side == ColumnRef("metric_id") for side in sides):
                sides = _by_name(sides)
            return replace(of, args=tuple(sides))
        case FunctionCall():
            return replace(of, args=tuple(with_texts(arg, texts) for arg in of.args))
    return of


def tag_key(of: TagRef, texts: Texts) -> str:
    """Return the tag's key as a text."""
    return texts([of.key])[of.key] if isinstance(of.key, int) else of.key


def _as_text(of: Expression, texts: Texts) -> Expression:
    match of:
        case Constant(value=int(value)) if not isinstance(value, bool):
            return replace(of, value=texts([value])[value])
        case TupleOf():
            return replace(of, items=tuple(_as_text(item, texts) for item in of.items))
    return of


def _by_name(sides: list[Expression]) -> list[Expression]:
    """Compare names where `metric_id` is compared with texts."""
    constants = [c for side in sides for c in (side.items if isinstance(side, TupleOf) else (side,))]
    if not any(isinstance(c, Constant) and isinstance(c.value, str) for c in constants):
        return sides
    return [ColumnRef(METRIC_NAME) if side == ColumnRef("metric_id") else side for side in sides]


#: Columns of the entities of tags.
META = (ColumnRef("tag_key"), ColumnRef("tag_value"))
#: A column of series that no query can name: a metric's stored name.
METRIC_NAME = "metric.name"
