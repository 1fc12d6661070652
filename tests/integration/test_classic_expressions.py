"""Expressions of real rules and dashboards over classic histograms and summaries, answered by distributions.

Each expression gets a project of its own: the metrics and labels that its selectors ask for. A metric named
`x_bucket`, or with a matcher on `quantile`, is sent as a distribution, everything else as a gauge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.wire.frame import decode, encode
from indexer.clickhouse.retention import Retention
from indexer.write.accepted_frame import AcceptedFrame
from shim.model.finite_regex import finite_strings
from shim.model.grid import Grid
from shim.model.labels import NAME
from shim.model.matchers import Matcher
from shim.model.numeric_labels import LE, QUANTILE
from shim.model.tenancy import Tenant
from shim.model.values import Vector
from shim.plan.parse import parse
from shim.promql.ast import Expr, MatrixSelector, VectorSelector, children
from tests.support.frames import FrameRows, make_frame
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

EXPRESSIONS = Path(__file__).parents[3] / "shared" / "conformance" / "expressions.json"
NOW_S = 1_800_000_000
#: Slow ones and fast ones, and a 99th percentile that an alert on 60 s sees.
OBSERVED = (0.02, 0.3, 0.9, 4.0, 20.0, 90.0)
KEPT = Retention(days_10s=4_000, days_60s=4_000, days_1h=4_000, days_1d=4_000)
_GROUPED = re.compile(r"\b(?:by|on|group_left|group_right)\s*\(([^)]*)\)")
_VIEW = re.compile(r"_(bucket|sum|count)$")


def expressions() -> list[str]:
    """Those with a selector of buckets, or with a matcher on `le` or `quantile`."""
    if not EXPRESSIONS.is_file():
        return []
    every: list[str] = json.loads(EXPRESSIONS.read_text())["expressions"]
    return [text for text in every if any(_is_classic(s) for s in selectors(parse(text)))]


def _is_classic(matchers: tuple[Matcher, ...]) -> bool:
    names = {m.name for m in matchers} & {LE, QUANTILE}
    return bool(names) or any(m.name == NAME and "_bucket" in m.value for m in matchers)


def selectors(tree: Expr) -> Iterator[tuple[Matcher, ...]]:
    match tree:
        case VectorSelector():
            yield tree.matchers
        case MatrixSelector():
            yield tree.vector_selector.matchers
    for _, child in children(tree):
        yield from selectors(child)


@dataclass(slots=True)
class Data:
    """The data that an expression needs."""

    expression: str
    series: dict[tuple[str, tuple[tuple[str, str], ...]], bool] = field(
        default_factory=dict
    )  # a distribution?

    def fill(self) -> None:
        found = list(selectors(parse(self.expression)))
        labels = {
            label.strip(): "v" for group in _GROUPED.findall(self.expression) for label in group.split(",")
        }
        names = [next(m.value for m in one if m.name == NAME) for one in found]
        bases = {_VIEW.sub("", name) for name in names if name.endswith("_bucket")}
        for name, matchers in zip(names, found, strict=True):
            base = _VIEW.sub("", name)
            summary = any(m.name == QUANTILE for m in matchers)
            distribution = base in bases or summary
            left_out = {"", NAME, *((LE, QUANTILE) if distribution else ())}
            tags = {k: v for k, v in labels.items() if k not in left_out | {LE, QUANTILE}}
            for m in matchers:
                if m.name not in left_out and (value := meeting(m, tags.get(m.name, ""))) is not None:
                    tags[m.name] = value
            pairs = tuple(sorted((k, v) for k, v in tags.items() if v))
            self.series[base if distribution and not summary else name, pairs] = distribution

    def rows(self) -> FrameRows:
        rows = FrameRows()
        for (name, pairs), distribution in self.series.items():
            for bucket in range(NOW_S - 280, NOW_S - 10, 30):
                if distribution:
                    rows.distributions.append((name, dict(pairs), bucket, OBSERVED))
                else:
                    rows.gauges.append((name, dict(pairs), bucket, (bucket * 1000 + 1, 1, 1, 1, 1, 1)))
        return rows


def meeting(matcher: Matcher, value: str) -> str | None:
    """Return a value that meets the matcher, None where an empty one does."""
    if value and matcher.matches(value):
        return None
    tried = [matcher.value] if matcher.op == "=" else ["v", "w"]
    tried += finite_strings(matcher.value) or () if matcher.op == "=~" else ()
    return next((text for text in tried if text and matcher.matches(text)), "")


@pytest.fixture(scope="module")
def answering(chdb_path: Path) -> Iterator[Pipeline]:
    with embedded(chdb_path, "test_expressions", kept=KEPT) as store:
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        yield pipeline
        pipeline.close()


def test_every_expression_over_histograms_answers(answering: Pipeline) -> None:
    found = expressions()
    if not found:
        pytest.skip("NO CONFORMANCE KIT: ../shared/conformance/expressions.json is missing")
    assert sum("_bucket" in text for text in found) >= 64
    units = []
    for number, text in enumerate(found, start=1):
        data = Data(text)
        data.fill()
        frame = make_frame(data.rows(), org_id=1, project_id=number)
        body = encode(frame)
        units.append(AcceptedFrame(frame.identity, body, decode(body)))
    answering.inserter.insert("expressions", units)  # one batch
    empty = []
    for number, text in enumerate(found, start=1):
        answering.tenant = Tenant(1, number)
        value = answering.answer(text, Grid.instant(NOW_S * 1000)).value
        assert isinstance(value, Vector)
        if not value.present.any():
            empty.append(text)
    assert not empty, f"{len(empty)} of {len(found)}: " + "\n---\n".join(empty)
