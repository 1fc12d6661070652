"""Deletions over a pipeline of tests, as the shim asks for them and an indexer does them."""

from __future__ import annotations

from indexer.clickhouse.schema.database_id import note_id
from indexer.deletion.deleter import Deleter, DeletionParts
from indexer.deletion.deletion_request import MAX_S, DeletionRequest, DeletionResult
from shim.catalog.deletion_targets import find_series
from shim.plan.parse import parse_selector
from tests.support.frames import TEN_YEARS
from tests.support.pipeline import Pipeline


def deleter_of(p: Pipeline, *, alone: bool = True) -> Deleter:
    """Return the deletions of a pipeline, whose time is `p.now_ms`."""
    inserter = p.inserter

    def renew() -> None:
        note_id(p.store)
        inserter._strings.forget([])
        inserter._registry.forget()

    feed, gate = inserter._insert_feed, inserter.gate
    parts = DeletionParts(gate, feed, renew, alone=alone, now_s=lambda: p.now_ms / 1000)
    return Deleter(p.store, TEN_YEARS, parts)


def delete(
    p: Pipeline,
    *selectors: str,
    start_s: int = 0,
    end_s: int = MAX_S,
    alone: bool = True,
    dry_run: bool = False,
) -> DeletionResult:
    """Delete the series that selectors match, of the tenant of the pipeline."""
    sets = [parse_selector(text).matchers for text in selectors]
    found = find_series(p.engine._catalog, p.tenant, sets, start_s * 1000, end_s * 1000)
    asked = DeletionRequest(p.tenant.org_id, found, start_s, end_s, dry_run)
    return deleter_of(p, alone=alone).delete(asked)
