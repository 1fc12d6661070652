"""Label sets and the marks that stand among them."""

from __future__ import annotations

import pytest

from shim.model import labels as lbl

X = lbl.make({"__name__": "x", "a": "1"})
TYPED = lbl.make({"__name__": "x", "__type__": "counter", "__unit__": "s", "a": "1"})


@pytest.mark.parametrize("name", ["x", "x\0", "\0", "\0goes"])
def test_a_name_goes_at_the_end_and_not_before(name: str) -> None:
    labels = lbl.make({"__name__": name, "a": "1"})
    marked = lbl.dropping_name(labels)
    assert lbl.final_labels(labels) == lbl.unmarked(marked) == labels
    assert lbl.get(marked, "__name__") == name
    assert lbl.drops_name(marked)
    assert not lbl.drops_name(labels)
    assert lbl.dropping_name(marked) == marked
    assert lbl.final_labels(marked) == (("a", "1"),)


def test_what_describes_the_metric_goes_with_its_name() -> None:
    assert lbl.final_labels(lbl.dropping_name(TYPED)) == (("a", "1"),)
    assert lbl.final_labels(TYPED) == TYPED
    nameless = lbl.make({"a": "1"})
    assert lbl.dropping_name(nameless) == nameless


def test_a_name_that_is_set_stays() -> None:
    marked = lbl.dropping_name(X)
    assert lbl.final_labels(lbl.changed(marked, "__name__", "y")) == lbl.make({"__name__": "y", "a": "1"})
    assert lbl.final_labels(lbl.changed(marked, "b", "2")) == lbl.make({"a": "1", "b": "2"})
    assert lbl.changed(X, "a", "") == lbl.make({"__name__": "x"})


def test_sets_are_marked_beside_names() -> None:
    for labels in (X, lbl.dropping_name(X), ()):
        marked = lbl.of_set(labels)
        assert lbl.is_set(marked)
        assert not lbl.is_set(labels)
        assert lbl.of_set(marked) == marked
        assert lbl.final_labels(marked) == lbl.final_labels(labels)
        assert not lbl.is_set(lbl.dropping_name(marked))
        assert lbl.drops_name(lbl.dropping_name(marked)) == bool(labels)
