"""The mark of a set's size: functions that keep it, functions that lose it, and the effect of sum."""

from __future__ import annotations

import numpy as np
import pytest

from shim.eval.aggregate import aggregate
from shim.eval.binary import binary
from shim.eval.functions.registry import call
from shim.eval.functions.signature import CallContext
from shim.model import labels as lb
from shim.model.errors import Unsupported
from shim.model.grid import Grid
from shim.model.messages import format_labels
from shim.model.values import Annotations, String, Value, Vector
from tests.unit.shim.eval.make import labels, rows, scalar, texts

MINE = labels("users{a=1}")


def sizes(*present: tuple[bool, ...]) -> Vector:
    """One set a row, all of three members."""
    where = np.array(present)
    named = [lb.of_set(labels(f"users{{a={i}}}")) for i in range(len(present))]
    return Vector(where.shape[1], named, np.full(where.shape, 3.0), where)


def marks(value: Value) -> list[bool]:
    assert isinstance(value, Vector)
    return [lb.is_set(one) for one in value.labels]


def test_the_mark_is_no_label() -> None:
    marked = lb.of_set(MINE)
    assert lb.is_set(marked)
    assert lb.of_set(marked) == marked
    assert not lb.is_set(MINE)
    assert lb.final_labels(marked) == MINE
    assert lb.without(marked, ("a",)) == labels("users")
    assert lb.only(marked, ("a",)) == labels("{a=1}")
    assert lb.final_labels(lb.dropping_name(marked)) == labels("{a=1}")
    assert not lb.is_set(lb.dropping_name(marked))
    assert lb.get(marked, "a") == "1"
    assert format_labels(marked) == '{__name__="users", a="1"}'


def test_computing_takes_the_mark_and_picking_leaves_it() -> None:
    two, notes, context = sizes((True,), (True,)), Annotations(), CallContext(Grid.instant(0))
    assert marks(binary("+", two, scalar(1), None, False, notes)) == [False, False]
    assert marks(binary(">", two, scalar(1), None, False, notes)) == [True, True]
    assert marks(binary(">", two, scalar(1), None, True, notes)) == [False, False]
    assert marks(binary("==", two, two, None, False, notes)) == [True, True]
    assert marks(binary("*", two, two, None, False, notes)) == [False, False]
    assert marks(binary("and", two, two, None, False, notes)) == [True, True]
    assert marks(call("abs", [two], context)) == [False, False]
    assert marks(call("sort", [two], context)) == [True, True]
    renamed = call("label_replace", [two, *map(String, ("b", "$1", "a", "(.*)"))], context)
    assert marks(renamed) == [True, True]
    assert marks(aggregate("topk", two, (), False, scalar(1), notes)) == [True]
    assert marks(aggregate("max", two, (), False, None, notes)) == [False]


def test_sum_takes_one_set_a_group_and_step() -> None:
    notes = Annotations()
    apart = aggregate("sum", sizes((True, False), (False, True)), (), False, None, notes)
    assert (rows(apart), marks(apart)) == (texts({"": [3.0, 3.0]}), [True])
    grouped = aggregate("sum", sizes((True,), (True,)), ("a",), False, None, notes)
    assert marks(grouped) == [True, True]
    with pytest.raises(Unsupported, match="union of their members"):
        aggregate("sum", grouped, (), False, None, notes)
    with pytest.raises(Unsupported, match="union of their members"):
        aggregate("sum", sizes((True, True), (False, True)), (), False, None, notes)
