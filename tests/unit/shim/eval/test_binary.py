"""Binary operators on small grids: values, names, matching, and Prometheus' error texts."""

from __future__ import annotations

import math

import pytest

from shim.eval.binary import Matching, binary, negate
from shim.model.errors import BadData, ExecutionError, Unsupported
from shim.model.values import Annotations, Scalar, String, Value, Vector
from tests.unit.shim.eval.make import INF, NAN, histogram, labels, rows, scalar, texts, vector


def run(
    op: str, left: Value, right: Value, matching: Matching | None = None, *, bool_: bool = False
) -> Value:
    return binary(op, left, right, matching, bool_, Annotations())


def on(*names: str, card: str = "one-to-one", include: tuple[str, ...] = ()) -> Matching:
    return Matching(card, True, names, include)  # type: ignore[arg-type] # the tests write it as text


@pytest.mark.parametrize(
    ("op", "result"),
    [
        ("+", 5.0), ("-", -9.0), ("*", -14.0), ("/", -2 / 7), ("%", -2.0), ("^", -128.0),
        ("atan2", math.atan2(-2, 7)), ("==", 0.0), ("!=", 1.0), ("<", 1.0),
        (">", 0.0), ("<=", 1.0), (">=", 0.0),
    ],
)  # fmt: skip
def test_two_scalars(op: str, result: float) -> None:
    found = run(op, scalar(-2), scalar(7), bool_=True)
    assert isinstance(found, Scalar)
    assert found.values[0] == pytest.approx(result)


def test_division_and_power_at_the_edges() -> None:
    for op, a, b, want in [
        ("/", 1, 0, INF),
        ("/", -1, 0, -INF),
        ("^", 1, NAN, 1),
        ("^", 0, 0, 1),
        ("%", 5, INF, 5),
    ]:
        found = run(op, scalar(a), scalar(b))
        assert isinstance(found, Scalar)
        assert found.values[0] == want
    for op, a, b in [("/", 0, 0), ("%", 1, 0), ("^", -8, 1 / 3)]:
        found = run(op, scalar(a), scalar(b))
        assert isinstance(found, Scalar)
        assert math.isnan(found.values[0])


def test_arithmetic_with_a_scalar_drops_the_name() -> None:
    v = vector({"m{a=1}": [1.0, None]})
    assert rows(run("-", v, scalar(1, 1))) == texts({"{a=1}": [0.0, None]})
    assert rows(run("-", scalar(5, 5), v)) == texts({"{a=1}": [4.0, None]})


def test_comparison_with_a_scalar_keeps_name_and_the_vectors_value() -> None:
    v = vector({"m": [1.0, 5.0]})
    assert rows(run(">", v, scalar(3, 3))) == texts({"m": [None, 5.0]})
    assert rows(run("<", scalar(3, 3), v)) == texts({"m": [None, 5.0]})
    assert rows(run(">", v, scalar(3, 3), bool_=True)) == texts({"": [0.0, 1.0]})
    assert rows(run("<", scalar(9, 9), v)) == {}


def test_names_that_meet_after_dropping() -> None:
    apart = vector({"m": [1.0, None], "n": [None, 3.0]})
    assert rows(negate(apart, Annotations())) == texts({"": [-1.0, -3.0]})
    with pytest.raises(ExecutionError, match="vector cannot contain metrics with the same labelset"):
        rows(negate(vector({"m": [1.0], "n": [2.0]}), Annotations()))


def test_default_matching_ignores_the_name() -> None:
    left, right = vector({"m{a=1}": [6.0], "m{a=2}": [7.0]}), vector({"n{a=1}": [2.0]})
    assert rows(run("/", left, right)) == texts({"{a=1}": [3.0]})
    assert rows(run(">", left, right)) == texts({"m{a=1}": [6.0]})
    assert rows(run(">", left, right, bool_=True)) == texts({"{a=1}": [1.0]})


def test_on_and_ignoring_decide_the_result_labels() -> None:
    left, right = vector({"m{a=1,b=x}": [6.0]}), vector({"n{a=1,c=y}": [2.0]})
    assert rows(run("+", left, right, on("a"))) == texts({"{a=1}": [8.0]})
    assert rows(run(">", left, right, on("a"))) == texts({"{a=1}": [6.0]})
    ignoring = Matching("one-to-one", False, ("b", "c"))
    assert rows(run(">", left, right, ignoring)) == texts({"m{a=1}": [6.0]})


def test_group_left_keeps_the_many_side_and_includes_labels() -> None:
    many = vector({"m{a=1,b=x}": [6.0], "m{a=1,b=y}": [8.0]})
    one = vector({"info{a=1,node=n1}": [2.0]})
    left = on("a", card="many-to-one", include=("node", "gone"))
    assert rows(run("/", many, one, left)) == texts({"{a=1,b=x,node=n1}": [3.0], "{a=1,b=y,node=n1}": [4.0]})
    right = on("a", card="one-to-many", include=("node",))
    assert rows(run("/", one, many, right)) == texts(
        {"{a=1,b=x,node=n1}": [2 / 6], "{a=1,b=y,node=n1}": [0.25]}
    )
    assert rows(run("<", one, many, right)) == texts(
        {"m{a=1,b=x,node=n1}": [2.0], "m{a=1,b=y,node=n1}": [2.0]}
    )


def test_an_included_label_that_is_missing_is_taken_away() -> None:
    many, one = vector({"m{a=1,node=old}": [6.0]}), vector({"info{a=1}": [2.0]})
    matching = on("a", card="many-to-one", include=("node",))
    assert rows(run("*", many, one, matching)) == texts({"{a=1}": [12.0]})


def test_many_to_many_text() -> None:
    left = vector({"scalar_metric": [3.0]})
    right = vector({"dup_metric{label=alpha}": [1.0], "dup_metric{label=beta}": [2.0]})
    with pytest.raises(ExecutionError) as caught:
        run(">", left, right, on())
    assert str(caught.value) == (
        "found duplicate series for the match group {} on the right hand-side of the operation: "
        '[{__name__="dup_metric", label="alpha"}, {__name__="dup_metric", label="beta"}];many-to-many '
        "matching not allowed: matching labels must be unique on one side"
    )
    with pytest.raises(ExecutionError, match="on the left hand-side"):
        run(">", right, left, on(card="one-to-many"))


def test_many_to_many_names_the_first_by_labels() -> None:
    right = vector({"n{a=2,b=y}": [1.0], "n{a=2,b=x}": [1.0], "n{a=1,b=z}": [1.0], "n{a=1,b=y}": [1.0]})
    with pytest.raises(ExecutionError, match=r'group \{a="1"\} .*\[\{.*b="y"\}, \{.*b="z"\}\];'):
        run("+", vector({"m{a=1}": [3.0]}), right, on("a"))


def test_many_to_one_must_be_said() -> None:
    left = vector({"m{a=1,b=x}": [6.0], "m{a=1,b=y}": [8.0]})
    right = vector({"n{a=1}": [2.0]})
    with pytest.raises(ExecutionError) as caught:
        run("+", left, right, on("a"))
    assert str(caught.value) == (
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    )
    with pytest.raises(ExecutionError):  # also where the comparison would leave one of them
        run(">", left, vector({"n{a=1}": [7.0]}), on("a"))


def test_grouping_labels_must_tell_the_results_apart() -> None:
    left = vector({"m{a=1,b=x}": [6.0], "n{a=1,b=x}": [8.0]})
    right = vector({"o{a=1}": [2.0]})
    with pytest.raises(ExecutionError) as caught:
        run("+", left, right, on("a", card="many-to-one"))
    assert str(caught.value) == ("multiple matches for labels: grouping labels must ensure unique matches")


def test_duplicates_matter_only_where_both_are_there() -> None:
    left = vector({"m{a=1}": [10.0, 20.0, 30.0]})
    right = vector({"n{a=1,pod=p}": [1.0, None, None], "n{a=1,pod=q}": [None, 2.0, None]})
    assert rows(run("+", left, right, on("a"))) == texts({"{a=1}": [11.0, 22.0, None]})
    include = on("a", card="many-to-one", include=("pod",))
    assert rows(run("+", left, right, include)) == texts(
        {"{a=1,pod=p}": [11.0, None, None], "{a=1,pod=q}": [None, 22.0, None]}
    )
    doubled = vector({"n{a=1,pod=p}": [None, 1.0], "n{a=1,pod=q}": [None, 2.0]})
    assert rows(run("+", vector({"m{a=1}": [1.0, None]}), doubled, on("a"))) == {}


def test_set_operators() -> None:
    left = vector({"m{a=1}": [1.0, 2.0], "m{a=2}": [3.0, None]})
    right = vector({"n{a=1}": [None, 9.0], "n{a=3}": [7.0, 7.0]})
    both = Matching("many-to-many", False, ())
    assert rows(run("and", left, right, both)) == texts({"m{a=1}": [None, 2.0]})
    assert rows(run("unless", left, right, both)) == texts({"m{a=1}": [1.0, None], "m{a=2}": [3.0, None]})
    assert rows(run("or", left, right, both)) == texts(
        {"m{a=1}": [1.0, 2.0], "m{a=2}": [3.0, None], "n{a=3}": [7.0, 7.0]}
    )
    assert rows(run("and", left, Vector.empty(2), both)) == {}
    assert rows(run("or", Vector.empty(2), right, both)) == rows(right)


def test_set_operators_carry_histograms() -> None:
    left, right = vector({}, {"h{a=1}": histogram([1.0], [1.0])}), vector({"n{a=1}": [None, 1.0]})
    both = Matching("many-to-many", False, ())
    found = run("and", left, right, both)
    assert isinstance(found, Vector)
    assert found.histograms[0].present.tolist() == [False, True]
    joined = run("or", right, left, both)
    assert isinstance(joined, Vector)
    assert joined.histograms[0].present.tolist() == [True, False]


def test_histogram_arithmetic() -> None:
    a, b = vector({}, {"h{a=1}": histogram([1.0, 2.0])}), vector({}, {"i{a=1}": histogram([2.0])})
    for op, count, total in [("+", 3, 5), ("-", 1, 1)]:
        found = run(op, a, b)
        assert isinstance(found, Vector)
        assert list(found.histogram_labels) == [labels("{a=1}")]
        assert (found.histograms[0].count[0], found.histograms[0].sum[0]) == (count, total)
    pairs: list[tuple[Value, Value]] = [
        (a, scalar(3)),
        (scalar(3), a),
        (vector({"m{a=1}": [3.0]}), a),
    ]
    for left, right in pairs:
        found = run("*", left, right)
        assert isinstance(found, Vector)
        assert found.histograms[0].count[0] == 6
    halved = run("/", a, scalar(2))
    assert isinstance(halved, Vector)
    assert halved.histograms[0].sum[0] == 1.5


def test_histogram_equality() -> None:
    a, b = vector({}, {"h": histogram([1.0], [1.0])}), vector({}, {"i": histogram([1.0], [3.0])})
    same = run("==", a, b)
    assert isinstance(same, Vector)
    assert list(same.histogram_labels) == [labels("h")]
    assert same.histograms[0].present.tolist() == [True, False]
    assert rows(run("!=", a, b, bool_=True)) == texts({"": [0.0, 1.0]})


@pytest.mark.parametrize(
    ("op", "kinds", "text"),
    [
        ("+", "fh", "float + histogram"),
        ("/", "fh", "float / histogram"),
        (">", "hf", "histogram > float"),
        ("*", "hh", "histogram * histogram"),
        ("==", "hf", "histogram == float"),
    ],
)
def test_what_is_not_defined_is_left_out_with_an_info(op: str, kinds: str, text: str) -> None:
    sides = {"f": vector({"m": [1.0]}), "h": vector({}, {"h": histogram([1.0])})}
    notes = Annotations()
    found = binary(op, sides[kinds[0]], sides[kinds[1]], None, False, notes)
    assert isinstance(found, Vector)
    assert not len(found.labels)
    assert not found.histograms
    assert notes.infos == [
        f'PromQL info: incompatible sample types encountered for binary operator "{op}": {text}'
    ]
    if kinds == "hf":
        again = Annotations()
        binary(op, sides["h"], scalar(1), None, False, again)
        assert again.infos == notes.infos


def test_minus() -> None:
    negated = negate(scalar(1, -2), Annotations())
    assert isinstance(negated, Scalar)
    assert negated.values.tolist() == [-1, 2]
    flipped = negate(vector({"m{a=1}": [2.0]}, {"h": histogram([1.0])}), Annotations())
    assert rows(flipped) == texts({"{a=1}": [-2.0]})
    assert isinstance(flipped, Vector)
    assert flipped.histograms[0].count[0] == -1


def test_refusals() -> None:
    with pytest.raises(Unsupported, match="<<"):
        run("<<", scalar(1), scalar(1))
    with pytest.raises(BadData, match="scalar and instant vector"):
        run("+", String("a"), scalar(1))
    with pytest.raises(BadData, match='set operator "and"'):
        run("and", scalar(1), vector({"m": [1.0]}))
    with pytest.raises(BadData, match="unary"):
        negate(String("a"), Annotations())
