"""fill, fill_left and fill_right on small grids. The cases are those of Prometheus' fill-modifier.test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from shim.eval.binary import ONE_TO_ONE, Fill, Matching, binary
from shim.model.errors import ExecutionError
from shim.model.values import Annotations, Vector
from tests.unit.shim.eval.make import INF, NAN, Cell, histogram, rows, texts, vector

LEFT = vector({"l{x=a}": [10], "l{x=b}": [20], "l{x=c}": [30]})
RIGHT = vector({"r{x=a}": [100], "r{x=b}": [200], "r{x=d}": [400]})


def run(
    op: str, left: Vector, right: Vector, fill: Fill, matching: Matching | None = None, *, bool_: bool = False
) -> dict[tuple[tuple[str, str], ...], list[Cell]]:
    return rows(binary(op, left, right, replace(matching or ONE_TO_ONE, fill=fill), bool_, Annotations()))


def same(found: object, want: Mapping[str, Sequence[Cell]]) -> bool:
    return repr(sorted(found.items())) == repr(  # type: ignore[attr-defined] # NaN is equal as text alone
        sorted({k: [None if c is None else float(c) for c in v] for k, v in texts(want).items()}.items())
    )


@pytest.mark.parametrize(
    ("op", "fill", "want"),
    [
        ("+", Fill(0, 0), {"{x=a}": [110], "{x=b}": [220], "{x=c}": [30], "{x=d}": [400]}),
        ("+", Fill(left=0), {"{x=a}": [110], "{x=b}": [220], "{x=d}": [400]}),
        ("+", Fill(right=0), {"{x=a}": [110], "{x=b}": [220], "{x=c}": [30]}),
        ("+", Fill(5, 7), {"{x=a}": [110], "{x=b}": [220], "{x=c}": [37], "{x=d}": [405]}),
        ("+", Fill(NAN, NAN), {"{x=a}": [110], "{x=b}": [220], "{x=c}": [NAN], "{x=d}": [NAN]}),
        ("-", Fill(INF, INF), {"{x=a}": [-90], "{x=b}": [-180], "{x=c}": [-INF], "{x=d}": [INF]}),
        ("==", Fill(30, 30), {"l{x=c}": [30]}),
        ("!=", Fill(30, 30), {"l{x=a}": [10], "l{x=b}": [20], "{x=d}": [30]}),
        (">", Fill(25, 25), {"l{x=c}": [30]}),
    ],
)
def test_one_to_one(op: str, fill: Fill, want: Mapping[str, Sequence[Cell]]) -> None:
    found = {k: v for k, v in run(op, LEFT, RIGHT, fill).items() if v != [None]}
    assert same(found, want)


def test_bool() -> None:
    found = run(">", LEFT, RIGHT, Fill(25, 25), bool_=True)
    assert same(found, {"{x=a}": [0], "{x=b}": [0], "{x=c}": [1], "{x=d}": [0]})


def test_step_by_step() -> None:
    left = vector({"l{x=a}": [1, None, 3, None, None], "l{x=b}": [None, 20, None, 40, None]})
    right = vector({"r{x=a}": [None, 200, None, 400, None], "r{x=c}": [1000, None, None, 4000, None]})
    assert same(
        run("+", left, right, Fill(0, 0)),
        {
            "{x=a}": [1, 200, 3, 400, None],
            "{x=b}": [None, 20, None, 40, None],
            "{x=c}": [1000, None, None, 4000, None],
        },
    )
    assert same(
        run("+", left, right, Fill(right=0)),
        {"{x=a}": [1, None, 3, None, None], "{x=b}": [None, 20, None, 40, None]},
    )


def test_grouped() -> None:
    many = vector({"req{m=G,s=200}": [100], "req{m=P,s=200}": [200], "req{m=G,s=500}": [10]})
    one = vector({"lim{s=200,own=t}": [1000], "lim{s=404,own=u}": [500]})
    left = Matching("many-to-one", True, ("s",), ("own",))
    assert same(
        run("+", many, one, Fill(0, 1), left),
        {"{m=G,own=t,s=200}": [1100], "{m=P,own=t,s=200}": [1200], "{m=G,s=500}": [11],
         "{own=u,s=404}": [500]},
    )  # fmt: skip
    # Prometheus swaps the sides of group_right but not the values: fill_left is still the value of the many.
    right = Matching("one-to-many", True, ("s",), ("own",))
    assert same(
        run("-", one, many, Fill(left=7), right),
        {"{m=G,own=t,s=200}": [900], "{m=P,own=t,s=200}": [800], "{own=u,s=404}": [493]},
    )
    assert same(
        run("-", one, many, Fill(right=7), right),
        {"{m=G,own=t,s=200}": [900], "{m=P,own=t,s=200}": [800], "{m=G,s=500}": [-3]},
    )


def test_empty_sides_and_histograms() -> None:
    nobody = Vector.empty(1)
    assert same(run("+", LEFT, nobody, Fill(0, 0)), {"{x=a}": [10], "{x=b}": [20], "{x=c}": [30]})
    assert same(run("+", nobody, LEFT, Fill(right=0)), {})
    found = binary(
        "*",
        vector({}, {"h{x=a}": histogram([1, 2])}),
        LEFT,
        replace(ONE_TO_ONE, fill=Fill(2, 2)),
        False,
        Annotations(),
    )
    assert isinstance(found, Vector)
    assert [float(h.count[0]) for h in found.histograms] == [20]  # matched: it needs no stand-in
    found = binary(
        "*",
        vector({}, {"h{x=z}": histogram([1, 2])}),
        LEFT,
        replace(ONE_TO_ONE, fill=Fill(2, 3)),
        False,
        Annotations(),
    )
    assert isinstance(found, Vector)
    assert [float(h.count[0]) for h in found.histograms] == [6]
    assert rows(found) == texts({"{x=a}": [20], "{x=b}": [40], "{x=c}": [60]})


def test_many_for_one_stand_in_are_refused() -> None:
    many = vector({"l{x=z,y=1}": [1], "l{x=z,y=2}": [2]})
    with pytest.raises(ExecutionError, match="many-to-one matching must be explicit"):
        run("+", many, RIGHT, Fill(right=0), Matching("one-to-one", True, ("x",)))
