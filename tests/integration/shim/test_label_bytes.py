"""Labels that functions make have a bound, which is checked before the memory is taken."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from shim.eval.functions.registry import call
from shim.eval.functions.signature import CallContext
from shim.eval.label_bytes import MAX_CHARACTERS, LabelBytes
from shim.eval.operators.matching import Matching
from shim.model.errors import ExecutionError
from shim.model.grid import Grid
from shim.model.values import String, Value, Vector
from tests.unit.shim.eval.make import vector

CONTEXT = CallContext(Grid.instant(0))


def replaced(value: Value, dst: str, template: str, src: str) -> Value:
    return call("label_replace", [value, String(dst), String(template), String(src), String("(.*)")], CONTEXT)


def test_a_value_that_doubles_with_every_level_is_refused() -> None:
    value: Value = replaced(vector({"x": [1.0]}), "a", "0123456789", "b")
    for _ in range(22):
        value = replaced(value, "a", "$1$1", "a")
    with pytest.raises(ExecutionError, match=r"label_replace\(\) makes labels that are too long"):
        replaced(value, "a", "$1$1", "a")
    assert isinstance(value, Vector)


def test_one_template_cannot_take_the_memory_first() -> None:
    value = replaced(vector({"x": [1.0]}), "a", "0" * 1_000_000, "b")
    tracemalloc.start()
    with pytest.raises(ExecutionError, match="too long"):
        replaced(value, "a", "$1" * 300_000, "a")
    assert tracemalloc.get_traced_memory()[1] < 300_000_000
    tracemalloc.stop()


def test_joined_labels_have_the_bound_too() -> None:
    value = replaced(vector({"x": [1.0]}), "a", "0" * 1_000_000, "b")
    args = [value, String("c"), String(","), *[String("a")] * 100]
    with pytest.raises(ExecutionError, match=r"label_join\(\) makes labels that are too long"):
        call("label_join", args, CONTEXT)


def test_the_bound_is_of_all_series_together() -> None:
    made = LabelBytes("f")
    made.take([MAX_CHARACTERS])
    assert made.joined([""]) == ""
    with pytest.raises(ExecutionError):
        made.joined(["x"])


def test_copies_of_a_join_have_the_bound_too() -> None:
    """A label of one series is copied to each series of the other side, and written as often."""
    long = (("a", "0" * 1_000_000),)
    matching = Matching("many-to-one", on=True, labels=("job",), include=("a",))
    pairs = [((("i", str(n)),), long) for n in range(65)]
    assert matching.results(pairs[:64], drop_name=True)[63] == (*long, ("i", "63"))
    with pytest.raises(ExecutionError, match="group_left makes labels that are too long"):
        matching.results(pairs, drop_name=True)
    swapped = replace(matching, card="one-to-many")
    with pytest.raises(ExecutionError, match="group_right makes labels that are too long"):
        swapped.results(pairs, drop_name=True)
