"""The evaluation of a plan stops when no client waits for it any more."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from indexer.clickhouse.store import Store
from shim.engine.evaluator import Evaluator
from shim.model.errors import TimedOut
from shim.model.grid import Grid
from shim.model.tenancy import Tenant
from shim.model.values import Annotations, Scalar
from shim.plan.build import build
from shim.plan.nodes import PlanContext
from shim.plan.parse import parse
from shim.read.reader import Reader
from shim.read.selectors import SelectorReader
from shim.read.window_plan import Limits


def test_no_node_begins_past_the_deadline(store: Store) -> None:
    """A query that reads nothing has a deadline, too: it was checked before statements alone."""
    reader = Reader(store, Tenant(1, 1), Limits(settled_s=None), 1_000, 1_000, time.monotonic() + 30)
    plan = build(parse("1 + 2"), PlanContext(Grid.instant(0), 300_000))
    with ThreadPoolExecutor(1) as pool:
        evaluator = Evaluator(
            SelectorReader(reader, lambda *_: pytest.fail("reads"), lambda _: (), Annotations()),
            Annotations(),
            pool,
        )
        assert isinstance(found := evaluator.run(plan), Scalar)
        assert found.values.tolist() == [3.0]
        reader.cancel()
        with pytest.raises(TimedOut):
            evaluator.run(plan)
