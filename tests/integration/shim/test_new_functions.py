"""A function is a file and a line in its registry: the parser, the checker and the planner ask that."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.markdown import ROOT

#: A new function of each kind, put where its file would put it, before the registries are read.
_RANGE = """
from shim.eval.range import resets_changes
from shim.eval.window.function import RangeFunction
added = RangeFunction("added_over_time", "A test", resets_changes.resets, args=("scalar", "matrix"))
resets_changes.FUNCTIONS += (added,)
"""
_PLAIN = """
from dataclasses import replace
from shim.eval.functions import elementwise
first = elementwise.FUNCTIONS[0]
elementwise.FUNCTIONS += (replace(first, name="added"),)
"""
_ASK = """
from shim.model.errors import BadData
from shim.plan import supported
from shim.plan.parse import parse
assert {name!r} in {{*supported.functions(), *supported.range_functions()}}
print(parse({good!r}))
try:
    parse({bad!r})
except BadData as e:
    print(e)
"""


@pytest.mark.parametrize(
    ("added", "name", "good", "bad"),
    [
        (_RANGE, "added_over_time", "sum(added_over_time(2, x[5m]))", "added_over_time(2, x)"),
        (_PLAIN, "added", "added(x) + 1", "added(x[5m])"),
    ],
)
def test_a_new_function_is_parsed_and_checked(added: str, name: str, good: str, bad: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", added + _ASK.format(name=name, good=good, bad=bad)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parsed, complaint = done.stdout.strip().splitlines()[-2:]
    assert name in parsed
    assert f'in call to function "{name}"' in complaint
