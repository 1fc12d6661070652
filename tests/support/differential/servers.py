"""The two that are asked: Debian's Prometheus, through the conformance kit, and our engine with its JSON."""

from __future__ import annotations

import asyncio
import importlib
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from shim.engine.api import QueryOptions
from shim.http.json_encoder import encode
from shim.model.errors import QueryError
from shim.model.grid import Grid
from tests.e2e.product import ROOT, get
from tests.support.differential.data import Stored
from tests.support.pipeline import Pipeline

KIT: Final = ROOT.parent / "shared" / "conformance"
#: Relative and absolute tolerance: the two add in another order, and differently carefully.
FRACTION: Final = 1e-6
MARGIN: Final = 1e-9

MISSING: Final = (
    "NO CONFORMANCE KIT: ../shared/conformance is missing"
    if not KIT.is_dir()
    else "NO REFERENCE: `prometheus` is not installed"
    if shutil.which("prometheus") is None
    else ""
)


def kit(module: str) -> Any:
    """Return a module of the conformance kit."""
    if str(KIT) not in sys.path:
        sys.path.append(str(KIT))
    return importlib.import_module(module)


@dataclass(slots=True)
class Servers:
    """Both, with the same samples."""

    reference: Any  # the kit's PrometheusTarget
    ours: Pipeline

    def difference(self, query: str, theirs: str, grid: Grid, *, instant: bool) -> str:
        """Return the difference of the answers; "" for none. `theirs` is the query as the reference knows it.

        Two errors are the same, whatever they say.
        """
        want, got = self.want(theirs, grid, instant=instant), self.got(query, grid, instant=instant)
        if want.failed or got.failed:
            if want.failed == got.failed:
                return ""
            return f"the reference fails: {want.text}" if want.failed else f"we fail: {got.text}"
        return str(kit("differential").difference(want, got, FRACTION, MARGIN))

    def want(self, query: str, grid: Grid, *, instant: bool) -> Any:
        """Return the reference's answer, as the kit's Result."""
        path, asked = "query", {"query": query, "time": f"{grid.end_ms / 1000:.3f}"}
        if not instant:
            path = "query_range"
            times = zip(("start", "end", "step"), (grid.start_ms, grid.end_ms, grid.step_ms), strict=True)
            asked = {"query": query, **{name: f"{ms / 1000:.3f}" for name, ms in times}}
        # Not through the kit's client: it keeps a connection open for every thread.
        status, body = get(f"{self.reference.base}/api/v1/{path}?{urlencode(asked)}")
        return kit("common").result_from_json(status, json.loads(body))

    def got(self, query: str, grid: Grid, *, instant: bool) -> Any:
        """Return our answer, through JSON and back. Errors besides a QueryError are defects."""
        options = QueryOptions(timeout_s=60.0)
        tenant, engine = self.ours.tenant, self.ours.engine
        try:
            if instant:
                answer = asyncio.run(engine.instant(tenant, query, grid.end_ms, options))
            else:
                answer = asyncio.run(engine.range(tenant, query, grid, options))
        except QueryError as e:
            return kit("common").Result("error", text=str(e), error_type=e.error_type, status=e.status)
        encoded = encode(answer)
        data = {"resultType": encoded.result_type, "result": json.loads(encoded.result)}
        return kit("common").result_from_json(200, {"status": "success", "data": data})


@contextmanager
def both(ours: Pipeline, series: Sequence[Stored], folder: Path) -> Iterator[Servers]:
    """Yield the reference started and loaded, our engine loaded."""
    ours.send(line for stored in series for line in stored.lines())
    reference = kit("targets").PrometheusTarget(workdir=str(folder))
    try:
        make, labels_of = kit("common").Series, kit("common").make_labels
        reference.load([
            make(labels_of({"__name__": s.name, **dict(s.labels)}), [(t * 1000, v) for t, v in s.points])
            for s in series
        ])  # fmt: skip
        yield Servers(reference, ours)
    finally:
        for client in (reference.http, reference.loader.http):
            client._local.conn.close()
        reference.close()
