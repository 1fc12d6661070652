"""Mapping and tags in names through the whole product: the API answers as check-config foretells."""

from __future__ import annotations

import json
import subprocess
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.product import PROGRAM, ROOT, VISIBLE_S, Starter, Up, wait_for

pytestmark = pytest.mark.e2e

MAPPING = r"""
defaults: {observer_type: histogram, ttl: 5m}
mappings:
- match: shop.*.*.hits
  name: mapped_hits
  labels: {region: $1, page: $2}
- match: shop.*.latency
  match_metric_type: observer
  name: mapped_latency_seconds
  timer_unit: s
  help: Time to answer a request.
  unit: s
  buckets: [0.05, 0.25, 0.5]
  labels: {region: $1}
- match: payment.latency.*
  name: payment_latency_seconds
  timer_type: histogram
  timer_unit: s
  buckets: [0.1, 0.25, 0.5, 1]
  labels: {method: $1}
- match: level.*
  name: mapped_level
  metric_type: gauge
- match: '^visitors\.(?P<region>[a-z]+)$'
  match_type: regex
  name: mapped_visitors
  labels: {region: $region}
- match: ^debug\.
  match_type: regex
  action: drop
"""
Labels = tuple[tuple[str, str], ...]
T = int(time.time()) // 3_600 * 3_600 - 7_200  # whole windows, in the past
LINES = (
    f"shop.eu.cart.hits:3|c|T{T + 5}",
    f"shop.eu.cart.hits:2|c|@0.5|#app:web|T{T + 5}",
    f"shop.us.cart.hits:1|c|#page:other|T{T + 5}",  # the label wins
    f"shop.eu.latency:320:80|ms|T{T + 5}",
    f"shop.eu.latency:7|h|T{T + 5}",  # has no unit
    f"shop.eu.latency:7|c|T{T + 5}",  # no observer
    f"payment.latency.card:650|ms|T{T + 5}",  # the case `timer-seconds` of ../shared/cases/cases.json
    f"level.a:5|c|T{T + 5}",
    f"visitors.eu:u1|s|T{T + 5}",
    f"visitors.eu:u2|s|T{T + 5}",
    f"visitors.eu:u1|s|T{T + 5}",
    f"debug.x:1|c|T{T + 5}",
    f"plain:1|c|T{T + 5}:2|c|T{T + 5}",  # `|T` is not allowed on a further sample
    f"sampled:1|c:2|c|@0.5:4|c|T{T + 5}",  # these two are of now
    f"tagged,host=a,rack=1:1|c|T{T + 5}",
    f"tagged#host=a,rack=1:2|c|T{T + 5}",
    f"tagged[host=b]:4|c|T{T + 5}",
    f"tagged,host=a:1|c|#b|T{T + 5}",
)


def test_what_is_foretold_is_what_is_there(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "mapping.yml").write_text(MAPPING)
    settings = {
        "METERHOUSE_AGENT__MAPPING": str(tmp_path / "mapping.yml"),
        "METERHOUSE_AGENT__LINES__NAME_TAGS": '["influx", "librato", "signalfx"]',
        "METERHOUSE_AGENT__TAGS": '{"pod": "web-1"}',
        "METERHOUSE_AGENT__AGGREGATE__LATENESS_S": "86400",
    }
    foretold = subprocess.run(
        [*PROGRAM, "check-config", "--json", "--lines", "-"],
        input="\n".join(LINES), env=settings, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert foretold.returncode == 1, foretold.stderr  # two lines are bad
    lines = json.loads(foretold.stdout)["lines"]
    outcomes = [line["outcome"] for line in lines]
    assert (len(lines), outcomes.count("taken"), outcomes.count("skipped")) == (len(LINES) + 2, 17, 1)

    product = start.up(environ=settings)
    product.send(LINES)
    answers = expected(line for line in lines if line["outcome"] == "taken" and line["bucket"] == T)
    assert sum(map(len, answers.values())) == 13
    for query, answer in answers.items():
        wait_for(partial(answers_so, product, query, answer), query, VISIBLE_S)
    wait_for(partial(described_so, product, METADATA), "metadata", VISIBLE_S)
    wait_for(partial(laddered_so, product, "payment_latency_seconds"), "buckets", VISIBLE_S)
    assert list(product.api.instant("payment_latency_seconds_sum", T + 60).values()) == [0.65]


def laddered_so(product: Up, name: str) -> bool:
    """Return whether the buckets of the mapping file hold, with their contents."""
    found = product.api.instant(f"{name}_bucket", T + 60)
    counts = {float(dict(labels)["le"]): value for labels, value in found.items()}
    return counts == {0.1: 0, 0.25: 0, 0.5: 0, 1.0: 1, float("inf"): 1}


#: Families with the file, and without it.
METADATA = {
    "mapped_latency_seconds": {"type": "histogram", "help": "Time to answer a request.", "unit": "s"},
    "mapped_hits": {"type": "counter", "help": "StatsD counter mapped_hits", "unit": ""},
}


def described_so(product: Up, answer: dict[str, dict[str, str]]) -> bool:
    found = product.api.data("metadata")
    return {name: found[name] for name in answer} == {name: [one] for name, one in answer.items()}


def answers_so(product: Up, query: str, answer: dict[Labels, float]) -> bool:
    return product.api.instant(query, T + 60) == answer


def expected(lines: Any) -> dict[str, dict[Labels, float]]:
    """Return all queries, with the values that they must give."""
    out: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
    members: dict[Labels, set[str]] = defaultdict(set)
    for line in lines:
        labels = tuple(sorted(line["tags"].items()))
        window = f'{{"{line["name"]}",__type__="{PROMETHEUS[line["type"]]}"}}[1m]'
        weighed = [value * line["weight"] for value in line["values"]]
        match line["type"]:
            case "counter":
                out[f"increase({window})"][labels] += sum(weighed)
            case "gauge":
                out[f"last_over_time({window})"][labels] = line["values"][-1]
            case "distribution":
                out[f"histogram_sum(increase({window}))"][labels] += sum(weighed)
                out[f"histogram_count(increase({window}))"][labels] += line["weight"] * len(weighed)
            case "set":
                members[labels].add(line["member"])
                out[f"sum_over_time({window})"][labels] = len(members[labels])
    return out


PROMETHEUS = {"counter": "counter", "gauge": "gauge", "distribution": "histogram", "set": "set"}
