"""Prometheus' own test files and ours, and the shapes of its HTTP API, against the running product.

The conformance kit lies beside the project (`../shared/conformance`); without it there is nothing to run, and
the skip says so. `tests/conformance_floor.json` holds how many cases must pass; when more do, raise it.

The files in `promqltest/` here are ours, for questions the kit does not ask. All of their cases must pass,
annotations and order of series included.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.product import ROOT, Up
from tests.support import promql_table
from tests.support.flush_url import SETTLE_S, flush_url
from tests.support.two_shards import ready_product

KIT: Final = ROOT.parent / "shared" / "conformance"
OWN: Final = Path(__file__).parent / "promqltest"
FLOOR: Final = Path(__file__).parents[1] / "conformance_floor.json"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.skipif(not KIT.is_dir(), reason="NO CONFORMANCE KIT: ../shared/conformance is missing"),
]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Provide a product of its own, without `up`: the kit asks which label names and metrics there are."""
    environ = {"METERHOUSE_INDEXER__UP": "false"}
    with ready_product(tmp_path_factory.mktemp("conformance"), environ) as up:
        yield up


def _run(product: Up, folder: Path, program: str, *options: str) -> dict[str, Any]:
    """Run the kit's program against the product; return its results from JSON."""
    result = folder / "result.json"
    command = [sys.executable, str(KIT / program), "--target", "statsd"]
    command += ["--statsd", "{}:{}".format(*product.tcp), "--base-url", product.api.url, "--settle", SETTLE_S]
    with flush_url(product) as flush:
        done = subprocess.run(
            [*command, *options, "--flush-url", flush, "--json", str(result)],
            cwd=folder, capture_output=True, text=True, timeout=1_200, check=False,
        )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{product.output[-4000:]}"
    print(done.stdout)
    document: dict[str, Any] = json.loads(result.read_text())
    return document


def _hold(name: str, passed: int, run: int, failures: list[str]) -> None:
    floor = json.loads(FLOOR.read_text())[name]
    print(f"{name}: {passed} of {run} passed, the floor is {floor}")
    assert passed >= floor, f"{passed} of {run} passed, {floor} must; these fail:\n" + "\n".join(failures)


def test_promqltest(product: Up, tmp_path: Path) -> None:
    """All files at once: loaded and waited for once, and no snapshot lies on another."""
    files = tmp_path / "files"
    files.mkdir()
    for path in (KIT / "promqltest").glob("*.test"):
        (files / path.name).symlink_to(path)
    for path in OWN.glob("*.test"):
        (files / f"own_{path.name}").symlink_to(path)
    document = _run(
        product, tmp_path, "promqltest.py", "--dir", str(files), "--only", "statsd", "--align", "1h"
    )
    cases = [c for c in document["cases"] if c["verdict"] != "skip"]
    own = [c for c in cases if c["file"].startswith("own_")]
    theirs = [c for c in cases if not c["file"].startswith("own_")]
    stable = [c for c in theirs if not c["experimental"]]
    _hold_cases("promqltest_statsd_stable", stable)
    _hold_cases("promqltest_statsd_stable_strict", stable, strict=True)
    _hold_cases("promqltest_statsd", theirs)
    told = _failures(own, strict=True)
    assert own
    assert not told, "\n".join(told)


def _hold_cases(name: str, cases: list[dict[str, Any]], *, strict: bool = False) -> None:
    """Strict: annotations, messages and the order of series must be right, too."""
    told = _failures(cases, strict=strict)
    _hold(name, len(cases) - len(told), len(cases), told)


def _failures(cases: list[dict[str, Any]], *, strict: bool) -> list[str]:
    failed = [c for c in cases if c["verdict"] == "fail" or (strict and c["strict"])]
    return [f"{c['file']}:{c['line']}: {c['query']}\n    {c['why'] or c['strict']}" for c in failed]


def test_api_check(product: Up, tmp_path: Path) -> None:
    document = _run(product, tmp_path, "api_check.py")
    total = document["total"]
    different = [c["request"] for c in document["checks"] if c["differences"]]
    _hold("api_check", total["same"], total["checks"], different)
    for known in promql_table.api_differences():
        assert any(r.startswith(known["request"]) for r in different), f"{known}: take it from the list"
