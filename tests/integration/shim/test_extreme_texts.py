"""The longest and deepest texts give a tree or an error in a process that survives, and cost little."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from shim.model.errors import BadData
from shim.plan.parse import parse
from shim.promql.query_size import MAX_QUERY_BYTES
from tests.support.markdown import ROOT


def test_the_guard_costs_little() -> None:
    """Linear in the text: the worst texts of the greatest length."""
    for piece in ('"', "'", "`", "\\", '"\\', "#", "{", "}", "{}", "(", "a", "-", "\n", "@", '@""'):
        text = piece * (MAX_QUERY_BYTES // len(piece))
        start = time.process_time()
        with pytest.raises(BadData):
            parse(text if piece != "a" else text + "(")
        assert time.process_time() - start < 30  # far above the usual time; a quadratic guard takes minutes


EXTREMES = {
    "parentheses": lambda n: "(" * n + "x" + ")" * n,
    "open parentheses": lambda n: "(" * n,
    "calls": lambda n: "abs(" * n + "x" + ")" * n,
    "aggregations": lambda n: "sum(" * n + "x" + ")" * n,
    "signs": lambda n: "-" * n + "x",
    "sum": lambda n: "x" + "+x" * n,
    "powers": lambda n: "x" + "^x" * n,
    "sets": lambda n: "x" + " or x" * n,
    "subqueries": lambda n: "x" + "[5m:]" * n,
    "offsets": lambda n: "x" + " offset 5m" * n,
    "at": lambda n: "x" + " @ 1" * n,
    "labels": lambda n: "sum by (" + "a," * n + "a) (x)",
    "matchers": lambda n: "x{" + 'a="",' * n + "}",
    "or matchers": lambda n: "x{" + 'a="1" or ' * n + 'a="1"}',
    "arguments": lambda n: "abs(" + "x," * n + "x)",
    "digits": lambda n: "1" * n,
    "duration": lambda n: "x[" + "1" * n + "y]",
    "braces": lambda n: "{" * n + "}" * n,
    "brackets": lambda n: "x" + "[" * n + "]" * n,
    "comments": lambda n: "#\n" * n + "x",
    "escapes": lambda n: '"' + "\\\\" * n + '"',
    "regex": lambda n: 'x{a=~"' + "(" * n + ")" * n + '"}',
    "regex repeats": lambda n: 'x{a=~"' + "(a{1000}){1000}" * n + '"}',
    "escaped quotes": lambda n: "1_0" + '"' + '\\"' * n,
    "bytes without an end": lambda n: '"\\xff' + '\\"' * n,
    "comments behind @": lambda n: "@#" * n,
    "labels of info": lambda n: "info(x,{))" * (n // 5) + "}" * (n // 5),
    "underscores": lambda n: "1_" * n,
    "hidden in quotes": lambda n: "'\"'" + "(" * n + "'\"'",
    "hidden in comments": lambda n: "#'\n" + "(" * n + "#'\n",
    "hidden in backticks": lambda n: "`\\`" + "(" * n + "`\\`",
}


#: Parses and, when it parses, plans each text of standard input (one a line, in JSON); prints the outcomes.
CHILD = """
import json, sys
from shim.model.errors import QueryError
from shim.model.grid import Grid
from shim.plan import rules
from shim.plan.build import build
from shim.plan.nodes import PlanContext
from shim.plan.text import render
from shim.promql.printer import format_query
from shim.plan.parse import parse
for line in sys.stdin:
    try:
        tree = parse(json.loads(line))
        plan = rules.apply(build(tree, PlanContext(Grid.instant(0))))
        render(plan), hash(plan), format_query(tree)
        said = "ok"
    except QueryError as e:
        said = type(e).__name__ + " " + repr(str(e)[:200])
    print(said, flush=True)
"""
#: Seconds that a text may take.
DEADLINE_S = 120.0


class Parser:
    """A process that takes texts, one after the other; a new one after each death."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None

    def outcome(self, text: str) -> str:
        """Return the answer of the process to a text. Its death, or no answer in time, fails the test."""
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-c", CHILD],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            )  # fmt: skip
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        late = threading.Timer(DEADLINE_S, child.kill)
        late.start()
        try:
            child.stdin.write(json.dumps(text) + "\n")
            child.stdin.flush()
            said = child.stdout.readline()
        except BrokenPipeError:
            said = ""
        finally:
            late.cancel()
        if not said:
            self.close()
            pytest.fail(f"the process ended with {child.returncode}")
        return said

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            child, self._child = self._child, None
            with suppress(BrokenPipeError):
                try:
                    child.communicate(timeout=120)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.communicate()
                    raise


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    """Provide the process for all texts: a start takes longer than most of them."""
    parser = Parser()
    yield parser
    parser.close()


@pytest.mark.parametrize("name", EXTREMES)
def test_no_text_ends_the_process(parser: Parser, name: str) -> None:
    for n in (200, 100_000):
        assert re.match(r"ok|BadData|Unsupported|ExecutionError", parser.outcome(EXTREMES[name](n))), n
