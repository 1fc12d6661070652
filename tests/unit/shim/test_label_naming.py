"""The meaning of a query's label names among the labels of the series."""

from __future__ import annotations

import pytest

from shim.model import labels as lb
from shim.model.grid import Grid
from shim.model.label_naming import EXACT, LabelNaming, NamedLabels, final_labels, first_of
from shim.model.labels import Labels
from shim.plan.build import build
from shim.plan.label_names import label_names
from shim.plan.nodes import PlanContext
from shim.plan.parse import parse
from shim.plan.rules import apply

DOT: Labels = (("a.b", "dot"), ("x", "1"))
DASH: Labels = (("a-b", "dash"), ("x", "1"))
LINE: Labels = (("a_b", "line"), ("x", "1"))
UTF8 = LabelNaming("utf8")


def test_a_name_means_what_is_called_so_or_has_it_as_its_underscore_form() -> None:
    assert UTF8.answering("a_b", [DOT]) == ("a.b",)
    assert UTF8.answering("a_b", [DASH, DOT, LINE]) == ("a_b", "a-b", "a.b")
    assert UTF8.answering("a.b", [LINE, DASH]) == ("a.b",)
    assert UTF8.answering("c_d", [DOT]) == ("c_d",)
    assert first_of(DOT, UTF8.answering("a_b", [DOT])) == "dot"
    assert first_of(DOT, ("a_b", "a-b", "a.b")) == "dot"
    assert first_of(DOT, ("a_b", "a-b")) == ""


def test_several_that_answer_are_one_there() -> None:
    assert UTF8.found(["a_b", "x"], [DOT], [DOT]) == NamedLabels(frozenset({"a.b", "x"}))
    several = UTF8.found(["a_b", "x"], [DOT], [DASH])
    assert several == NamedLabels(frozenset({"a_b", "a.b", "a-b", "x"}), {"a.b": "a_b", "a-b": "a_b"})
    assert several.of(DOT) == (("a_b", "dot"), ("x", "1"))
    assert several.of(lb.of_set((*DASH, *DOT))) == lb.of_set((("a_b", "dash"), ("x", "1")))
    # The label of this name counts before others, and a label asked for by itself stays apart.
    with_line = UTF8.found(["a_b", "a.b"], [DOT, DASH, LINE])
    assert with_line.renamed == {"a-b": "a_b"}
    assert with_line.of((("a-b", "1"), ("a.b", "2"), ("a_b", "3"))) == (("a.b", "2"), ("a_b", "3"))


def test_where_every_name_means_itself_nothing_is_looked_at() -> None:
    def unseen() -> Labels:
        raise AssertionError("looked at")

    for naming in (EXACT, LabelNaming.of("underscore", ["a_b"], ["c"])):
        assert not naming.loose
        assert naming.found(["a_b"], (unseen() for _ in "1")) == NamedLabels(frozenset({"a_b"}))
        assert naming.answering("a_b", (unseen() for _ in "1")) == ("a_b",)
    assert UTF8.found(["x", "a.b"], (unseen() for _ in "1")) == NamedLabels(frozenset({"x", "a.b"}))


def test_names_of_the_answer() -> None:
    naming = LabelNaming.of("underscore", ["a.b", "x", "k8s.pod"], ["made.up"])
    assert naming.kept == {"a.b", "k8s.pod", "made.up"}
    assert [naming.inside(n) for n in ("a.b", "c.d", "x")] == ["a.b", "c_d", "x"]
    made: Labels = (("made.up", "1"),)
    assert naming.shown([DOT, made]) == {"a.b": "a_b"}
    assert final_labels((("a.b", "1"), ("a:", "2")), {"a.b": "a_b"}) == (("a:", "2"), ("a_b", "1"))
    assert naming.shown([DOT, LINE]) == {}  # they would be one label
    assert LabelNaming.of("utf8", ["a.b"], []).kept == frozenset()
    assert LabelNaming.of("utf8", ["a.b"], []).shown([DOT]) == {}


@pytest.mark.parametrize(
    ("query", "asked", "made"),
    [
        ('x{"a.b"="1"}', set(), set()),
        ('sum by ("a.b") (x)', {"a.b"}, set()),
        ('-sum without ("a.b", c) (x)', {"a.b", "c"}, set()),
        ('sum(sum by ("a.b") (rate(x[5m])))', {"a.b"}, set()),
        ('x + on ("a.b") group_left ("c.d") y', {"a.b", "c.d"}, set()),
        ('x unless ignoring ("a.b") y', {"a.b"}, set()),
        ('label_replace(x, "a.b", "$1", "c.d", "e.f")', {"c.d"}, {"a.b"}),
        ('label_join(x, "a.b", "e.f", "c.d", "g")', {"c.d", "g"}, {"a.b"}),
        ('count_values by (c) ("a.b", x)', {"c"}, {"a.b"}),
        ('topk by ("a.b") (1, x)', {"a.b"}, set()),
        ('sort_by_label(x, "a.b")', {"a.b"}, set()),
        ('info(x, {"a.b"=~".+"})', {"a.b"}, set()),
        ('max_over_time(sum by ("a.b") (x)[5m:1m])', {"a.b"}, set()),
        ('sum by ("a.b") (x)[5m:1m]', {"a.b"}, set()),
        ('quantile_over_time(scalar(sum by ("a.b") (x)), y[5m])', {"a.b"}, set()),
        ('histogram_quantiles(x, "a.b", 0.5, 0.9)', set(), {"a.b"}),
        ("x[5m]", set(), set()),
        ("timestamp(x)", set(), set()),
    ],
)
def test_names_in_a_plan(query: str, asked: set[str], made: set[str]) -> None:
    plan = build(parse(query), PlanContext(Grid.instant(0)))
    assert tuple(map(set, label_names(plan))) == tuple(map(set, label_names(apply(plan)))) == (asked, made)
