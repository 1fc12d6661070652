"""Results of a tick as messages: types, times, ends, projects, and the key that names them for ever."""

from __future__ import annotations

import json
from typing import Any

from shim.model import labels as lb
from shim.model.tenancy import Tenant
from shim.rules.recorded_histogram import RecordedHistogram
from shim.rules.recorded_messages import TickResults, key_of, non_finite
from shim.rules.tick_requests import tick_parts

TICK_S = 1_700_000_037
MS = TICK_S * 1000


def messages(results: TickResults, tenant: Tenant | None = None) -> list[dict[str, Any]]:
    found = tick_parts(tenant or Tenant(7, 9), 3, results, ("f;g", TICK_S))
    requests = [part.request for part in found.parts] + ([] if found.told else [found.end])
    return [message for one in requests for message in json.loads(one.body)]


def series(name: str, **labels: str) -> lb.Labels:
    return lb.make({lb.NAME: name, **labels})


def test_gauges_ends_and_progress() -> None:
    results = TickResults(frozenset())
    results.append(series("x", a="1"), MS, 2.5)
    results.append(series("x", a="2"), MS, None)
    results.append(series("x", a="3"), MS, float("nan"))
    head = {"org_id": 7, "project_id": 9, "type": "g", "timestamp": TICK_S}
    assert messages(results) == [
        {**head, "name": "x", "tags": {"a": "1"}, "value": 2.5},
        {**head, "name": "x", "tags": {"a": "2"}, "value": "stale"},
        {**head, "name": "x", "tags": {"a": "3"}, "value": "stale"},
        {**head, "name": "meterhouse_rule_group_last_tick_seconds", "tags": {"rule_group": "f;g"},
         "value": TICK_S},
    ]  # fmt: skip
    assert non_finite(results) == 1
    assert results.seen.has("x")


def test_a_counter_lies_in_the_bucket_before_the_tick_and_does_not_end() -> None:
    results = TickResults(frozenset({"n"}))
    results.append(series("n"), MS, 4.0)
    results.append(series("n", a="1"), MS, None)
    counter, _ = messages(results)
    assert counter["type"] == "c"
    assert counter["timestamp"] == 1_700_000_029.999  # the tick reads deltas up to ...030
    assert not results.seen.has("n")


def test_a_histogram_is_buckets_in_the_bucket_before_the_tick() -> None:
    results = TickResults(frozenset({"h"}))
    one = RecordedHistogram(7.5, 1.0, [(32, 1.0), (76, 2.5)], [], low=0.0, high=5.1)
    results.append_histogram(series("h"), MS, one)
    results.append(series("h", a="1"), MS, None)
    histogram, _ = messages(results)
    assert (histogram["type"], histogram["timestamp"]) == ("d", 1_700_000_029.999)
    assert histogram["value"] == {
        "format": "buckets", "sum": 7.5, "zero": 1.0, "min": 0.0, "max": 5.1,
        "positive": [[32, 1.0], [76, 2.5]], "negative": [],
    }  # fmt: skip
    assert not results.seen.has("h")
    assert non_finite(results) == 0


def test_results_over_an_org_name_their_project() -> None:
    results = TickResults(frozenset())
    results.append(series("x", project_id="5"), MS, 1.0)
    results.append(series("x"), MS, 1.0)
    other, of_five, progress = messages(results, Tenant(7, None))  # by project
    assert (of_five["project_id"], of_five["tags"]) == (5, {})
    assert other["project_id"] == progress["project_id"] == 3


def test_keys_differ_by_tenant_group_and_tick() -> None:
    keys = {
        key_of(Tenant(1, 1), "f", "g", 1),
        key_of(Tenant(1, None), "f", "g", 1),
        key_of(Tenant(1, 2), "f", "g", 1),
        key_of(Tenant(1, 1), "f", "h", 1),
        key_of(Tenant(1, 1), "f", "g", 2),
    }
    assert len(keys) == 5
    assert all(len(key) < 100 for key in keys)
