"""Random PromQL, and the kit's list of queries, against Debian's Prometheus with the same samples.

More queries, and others: DIFFERENTIAL_QUERIES=20000 DIFFERENTIAL_SEED=anything pytest <this file>
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from indexer.clickhouse.schema import Retention
from shim.catalog import Catalog
from shim.engine.engine import QueryEngine
from shim.model.grid import Grid
from shim.plan import supported
from shim.settings import ShimSettings
from tests.e2e.product import Up
from tests.support.differential import data, exceptions
from tests.support.differential.expr import Expr, shrunk
from tests.support.differential.generate import generator
from tests.support.differential.servers import KIT, MISSING, Servers, both
from tests.support.flush_url import SETTLE_S, flush_url
from tests.support.pipeline import Pipeline
from tests.support.promql import syntax_error
from tests.support.worlds import embedded

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

KEPT = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
DATABASE = "differential"
QUERIES = int(os.environ.get("DIFFERENTIAL_QUERIES", "2400"))
SEED = os.environ.get("DIFFERENTIAL_SEED", "meterhouse")
AT_ONCE = 2
#: Failures that are shrunk and shown.
SHOWN = 10
#: The share of queries that the exceptions may cover.
MAX_EXCUSED = 0.015
EXCEPTIONS = exceptions.load()


@pytest.fixture(scope="module")
def servers(chdb_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with embedded(chdb_path, DATABASE) as store:
        first = Pipeline.open(store, data.END_S * 1000, retention=KEPT)
        shim = ShimSettings(settle_s=0.0, retention=KEPT)
        # Nothing is registered after the samples are in, so look-ups may be remembered.
        catalog = Catalog(store, shim, version=lambda: 1)
        engine = QueryEngine(store, catalog, shim, now_s=lambda: float(data.END_S))
        with both(
            replace(first, engine=engine), data.series(), tmp_path_factory.mktemp("reference")
        ) as found:
            yield found
        engine.close()
        first.close()


@dataclass(frozen=True)
class Asked:
    """One query of a run, and when it is evaluated."""

    expr: Expr
    grid: Grid
    instant: bool

    @staticmethod
    def drawn(seed: str) -> Asked:
        made = generator(seed)
        rng = made.rng
        expr = made.query(rng.choice((2, 2, 3, 3, 4, 5)))
        step_ms, steps = rng.choice((10, 20, 30, 60, 120)) * 1000, rng.choice((1, 2, 5, 11, 31))
        end_ms = (data.END_S - rng.randrange(0, 180) * 10) * 1000 + 3_000
        return Asked(expr, Grid(end_ms - (steps - 1) * step_ms, end_ms, step_ms), rng.random() < 0.35)

    def difference(self, servers: Servers) -> str:
        text = self.expr.text
        try:
            return servers.difference(text, EXCEPTIONS.as_reference(text), self.grid, instant=self.instant)
        except Exception as e:
            # An error other than QueryError is a defect, too, and must not hide the other queries'.
            return f"we crash: {e!r}"

    def explained(self, servers: Servers) -> str:
        """Return the smallest query found that fails in a way that is not excused."""

        def fails(expr: Expr) -> bool:
            found = replace(self, expr=expr).difference(servers)
            return bool(found) and not EXCEPTIONS.excused(expr.text, found)

        small = replace(self, expr=shrunk(self.expr, fails))
        kind = "instant" if self.instant else f"range, {self.grid}"
        return f"{small.expr.text}\n    {small.difference(servers)}\n    {kind}; from {self.expr.text}"


def test_random_queries(servers: Servers) -> None:
    asked = [Asked.drawn(f"{SEED}/{i}") for i in range(QUERIES)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda a: a.difference(servers), asked))
    different = [(a, d) for a, d in zip(asked, found, strict=True) if d]
    failed = [a for a, d in different if not EXCEPTIONS.excused(a.expr.text, d)]
    excused = len(different) - len(failed)
    print(f"{QUERIES} queries: {QUERIES - len(different)} alike, {excused} excused, {len(failed)} different")
    shown = "\n".join(a.explained(servers) for a in failed[:SHOWN])
    assert not failed, f"{len(failed)} of {QUERIES} differ; the first of them:\n{shown}"
    assert excused <= MAX_EXCUSED * QUERIES, f"{excused} queries need an exception"


def test_failures_shrink() -> None:
    """Of whatever has a `rate` in it, little more than the `rate` is left."""
    found = [a.expr for i in range(200) if "rate(" in (a := Asked.drawn(f"{SEED}/{i}")).expr.text]
    assert found
    assert all(len(shrunk(expr, lambda e: "rate(" in e.text, 2_000).text) < 70 for expr in found)


def test_every_construct_is_asked() -> None:
    """A new function has to be drawn, or to be listed as lacking in the reference."""
    drawn = Counter(c for i in range(2_000) for c in Asked.drawn(f"{SEED}/{i}").expr.all_constructs())
    built = {
        *supported.functions(),
        *supported.range_functions(),
        *supported.aggregations(),
        *supported.OPERATORS,
    }
    lacking = {entry.construct for entry in EXCEPTIONS.lacking}
    words = {
        *("by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "offset -", "@"),
        *("@ start()", "@ end()", "[subquery]", "[subquery:default]", "matcher=", "matcher!=", "matcher=~"),
        *(
            "[subquery:odd]",
            "parameter",
            "chain",
            "include",
            "matcher!~",
            "{__name__=}",
            "{__name__=~}",
            "unary -",
            "scalar side",
            "scalar operator",
        ),
    }
    missing = {c for c in (built | words) - lacking if drawn[c] < 5}
    assert not missing


def test_broken_queries_are_refused_in_the_same_words(servers: Servers) -> None:
    """Where 2.42 and 3.x say the same; the rest is in tests/unit/shim/promql/test_messages.py."""
    texts = (Path(data.__file__).parent / "broken.txt").read_text().splitlines()
    grid = Grid.instant(data.END_S * 1000)
    asked = {text: (servers.want(text, grid, instant=True), syntax_error(text)) for text in texts}
    different = {
        text: (want.text, got)
        for text, (want, got) in asked.items()
        if want.text.removeprefix('invalid parameter "query": ') != got
    }
    assert not different
    assert len(texts) > 200


@pytest.mark.parametrize("entry", EXCEPTIONS.lacking, ids=lambda e: e.construct)
def test_reference_still_lacks(servers: Servers, entry: exceptions.Lacking) -> None:
    grid = Grid.instant(data.END_S * 1000 + 3_000)
    assert servers.want(entry.example, grid, instant=True).failed, "take it from exceptions.toml, and draw it"


@pytest.mark.parametrize("entry", EXCEPTIONS.exception, ids=lambda e: e.example)
def test_exception_is_still_needed(servers: Servers, entry: exceptions.Excuse) -> None:
    grid = Grid((data.END_S - 600) * 1000 + 3_000, data.END_S * 1000 + 3_000, 60_000)
    found = servers.difference(entry.example, EXCEPTIONS.as_reference(entry.example), grid, instant=False)
    assert entry.covers(entry.example, found), f"{found or 'alike now'}: take it from exceptions.toml"


@pytest.mark.parametrize(
    "query", ["sort(temp)", "sort_desc(mem)", "topk(3, temp)", "bottomk(4, mem)", "sort(-temp)"]
)
def test_order_of_answers(servers: Servers, query: str) -> None:
    grid = Grid.instant(data.END_S * 1000 + 3_000)
    want, got = (ask(query, grid, instant=True) for ask in (servers.want, servers.got))
    assert [labels for labels, *_ in got.data] == [labels for labels, *_ in want.data]


def test_queries_of_the_kit(tmp_path: Path) -> None:
    """The kit's own program and list, from StatsD lines to JSON, against the product as it is started."""
    result = tmp_path / "result.json"
    up = Up(tmp_path / "up")
    try:
        up.ready()
        command = [sys.executable, str(KIT / "differential.py"), "--ref-target", "prometheus"]
        command += ["--target", "statsd"]
        command += ["--statsd", "{}:{}".format(*up.tcp), "--base-url", up.api.url, "--settle", SETTLE_S]
        with flush_url(up) as flush:
            done = subprocess.run(
                [*command, "--flush-url", flush, "--json", str(result)],
                cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{up.output[-4_000:]}"
    finally:
        up.clear()
    print(done.stdout)
    document = json.loads(result.read_text())
    different = {q["query"]: q["why"] for q in document["queries"] if q["verdict"] != "match"}
    assert different.keys() == {entry.query for entry in EXCEPTIONS.kit}, different
    assert document["summary"]["range"]["total"] > 100
