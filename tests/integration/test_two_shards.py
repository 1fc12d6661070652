"""The product's answers over two shards (tests/support/two_shards.py), the rows of each series on both.

A part that fits into CI: `python -m tests.bench.sharded_answers` has the whole, in both layouts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.product import ROOT, Starter, Up
from tests.e2e.services import Services
from tests.e2e.test_exactness import (
    BEGIN,
    counters,
    distribution,
    test_identities,
    test_quantiles,
)
from tests.support.clickhouse_http import as_profiled
from tests.support.flush_url import SETTLE_S, flush_url
from tests.support.two_shards import ShardedUp, ready_product

__all__ = [
    "counters",
    "distribution",
    "test_identities",
    "test_quantiles",
]

KIT: Final = ROOT.parent / "shared" / "conformance"
#: Queries whose leaves are read, counted, grouped by sent lists, and merged over shards in different ways.
QUERIES: Final = (
    "exact_counter",
    'sum by (route) (rate(exact_counter{host=~"[1-3]"}[30m]))',
    "count by (__name__, route) ({__name__=~'exact_.*'})",
    "quantile_over_time(0.9, exact_distribution[1h])",
    "histogram_quantile(0.5, sum by (host) (increase(exact_distribution[6h])))",
)
#: Files whose queries read in most of the ways there are, and the number of their evaluations.
FILES: Final = ("aggregators", "range_queries", "staleness", "subquery")
EVALUATIONS: Final = 105

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    environ = {"METERHOUSE_INDEXER__UP": "false"}
    with ready_product(tmp_path_factory.mktemp("shards"), environ, "by_row") as up:
        yield up


@pytest.mark.skipif(not KIT.is_dir(), reason="NO CONFORMANCE KIT: ../shared/conformance is missing")
def test_prometheus_own_files(product: Up, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    command = [sys.executable, str(KIT / "promqltest.py"), "--target", "statsd", "--no-range-mode"]
    command += ["--statsd", "{}:{}".format(*product.tcp), "--base-url", product.api.url, "--settle", SETTLE_S]
    command += ["--only", "statsd-stable", "--align", "1h", "--json", str(result)]
    for name in FILES:
        command += ["--file", f"{name}.test"]
    with flush_url(product) as flush:
        command += ["--flush-url", flush]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    cases = [case for case in json.loads(result.read_text())["cases"] if case["verdict"] != "skip"]
    wrong = [case for case in cases if case["verdict"] == "fail"]
    failed = [f"{c['file']}:{c['line']}: {c['query']}\n    {c['why']}" for c in wrong]
    assert not failed, "\n".join(failed)
    assert len(cases) >= EVALUATIONS


@pytest.mark.usefixtures("counters", "distribution")
def test_a_user_who_may_send_no_settings_gets_the_same(product: Up, tmp_path: Path) -> None:
    """With `readonly = 1`: lists of ids are inside the text, and no shard gets settings."""
    _answers_as(product, tmp_path, "readonly=1,max_threads=1")


@pytest.mark.usefixtures("counters", "distribution")
def test_a_profile_that_leaves_shards_out_changes_nothing(product: Up, tmp_path: Path) -> None:
    """Every statement sends its own values: else rows on the other shard would be missing, or apart."""
    _answers_as(product, tmp_path, "optimize_skip_unused_shards=1,distributed_group_by_no_merge=1")


def _answers_as(product: Up, folder: Path, profile: str) -> None:
    """Compare the answers of an API whose user has this profile with those of the product's."""
    assert isinstance(product, ShardedUp)
    start = Starter(folder)
    try:
        other = Services(start, as_profiled(product.sharded_dsn, profile)).api({})
        for query in QUERIES:
            at = {"query": query, "start": BEGIN + 3_600, "end": BEGIN + 36_000, "step": 3_600}
            wanted = product.api.data("query_range", **at)
            assert wanted["result"], query
            assert other.data("query_range", **at) == wanted, query
    finally:
        start.clear()
