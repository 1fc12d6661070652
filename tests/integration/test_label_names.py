"""UTF-8 label names wherever one enters an expression, in both styles of names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.store import Store, open_store
from shim.model.grid import Grid
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

NOW_S = 20_400 * 86_400
DATABASE = "label_names"
KEPT = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
LINES = [
    "k8s.restarts:3|c|#k8s.pod:p0,env:prod",
    "k8s.restarts:2|c|#k8s.pod:p1,env:prod",
    "k8s.restarts:1|c|#k8s.pod:p1,env:dev",
    "quota:10|g|#k8s.pod:p0,team:a",
    "quota:20|g|#k8s.pod:p1,team:b",
    # Names that are one in underscores, and none of them alone.
    "mixed:1|c|#a.b:x",
    "mixed:2|c|#a_b:w",
    "mixed:4|c|#a-b:y",
    "mixed:8|c|#a.b:y,a_b:z",
    "target_info:1|g|#instance:i,job:j,os.type:linux,os.arch:arm",
    "up_to:5|g|#instance:i,job:j",
    "lat:5|d|#k8s.pod:p0",
    "lat:7|d|#k8s.pod:p1",
    "users:ann|s|#k8s.pod:p0",
    "users:ann|s|#k8s.pod:p1",
    # Series that are one in underscores.
    *(f"one.{name}:{value}|c|#host:h" for name, value in (("a.b", 3), ("a-b", 4))),
    "one_a_b:8|c|#host:h",
    "timing.a.b:5|d",
    "timing.a-b:7|d",
    "members.a.b:ann|s",
    "members.a-b:ann|s",
    "members.a_b:bob|s",
    "tags:1|c|#k.1:v",
    "tags:2|c|#k-1:v",
]
LATEST = [f"level.a.b:1|g|T{NOW_S - 18}", f"level.a-b:2|g|T{NOW_S - 17}"]


@pytest.fixture(scope="module")
def stored(chdb_path: Path) -> Iterator[Store]:
    with embedded(chdb_path, DATABASE) as store:
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        pipeline.send([*(f"{line}|T{NOW_S - 15}" for line in LINES), *LATEST])
        pipeline.close()
        yield store


@pytest.fixture(scope="module", params=["underscore", "utf8"])
def p(request: pytest.FixtureRequest, stored: Store) -> Iterator[Pipeline]:
    pipeline = Pipeline.open(stored, NOW_S * 1000, retention=KEPT, names=request.param)
    yield pipeline
    pipeline.close()


def style(p: Pipeline) -> str:
    return p.engine._settings.names


def ask(p: Pipeline, query: str) -> dict[str, float]:
    """Values by labels as text: `env=prod pod=p0`, without a name. UTF-8 names of this file in short."""
    short = {"k8s_pod": "pod", "os_type": "os", "a_b": "ab"}
    if style(p) == "utf8":
        short = {"k8s.pod": "pod", "os.type": "os"}
    found = p.instant(query, NOW_S)
    return {
        " ".join(
            sorted(f"{short.get(k, k)}={v}" for k, v in labels if k not in ("__name__", "instance", "job"))
        ): v
        for labels, v in found.items()
    }


BOTH = ['"k8s.pod"', "k8s_pod"]


@pytest.mark.parametrize("pod", BOTH)
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("sum by (POD) (k8s_restarts)", {"pod=p0": 3, "pod=p1": 3}),
        ("sum by (POD, env) (increase(k8s_restarts[5m]))",
         {"env=dev pod=p1": 1, "env=prod pod=p0": 3, "env=prod pod=p1": 2}),
        ("sum without (POD) (k8s_restarts)", {"env=prod": 5, "env=dev": 1}),
        ("sum without (env) (sum by (POD, env) (k8s_restarts))", {"pod=p0": 3, "pod=p1": 3}),
        ("sum by (POD) (sum by (k8s_pod, env) (increase(k8s_restarts[5m])))", {"pod=p0": 3, "pod=p1": 3}),
        ('sum by (k8s_pod) (sum by ("k8s.pod", env) (increase(k8s_restarts[5m])))',
         {"pod=p0": 3, "pod=p1": 3}),
        ('sum by (POD) (sum without (env) (increase(k8s_restarts[5m])))', {"pod=p0": 3, "pod=p1": 3}),
        ('sum by (POD) (sum without (POD) (increase(k8s_restarts[5m])))', {"": 6}),
        ("max by (POD) (k8s_restarts)", {"pod=p0": 3, "pod=p1": 2}),
        ("topk by (POD) (1, k8s_restarts)", {"env=prod pod=p0": 3, "env=prod pod=p1": 2}),
        ("sum by (POD) (users)", {"pod=p0": 1, "pod=p1": 1}),
        ("sum(sum by (POD) (sum_over_time(users[5m])))", {"": 1}),
        ("histogram_sum(sum by (POD) (increase(lat[5m])))", {"pod=p0": 5, "pod=p1": 7}),
        ("sum by (POD) (increase(lat_count[5m]))", {"pod=p0": 1, "pod=p1": 1}),
        ('sum by (POD, le) (increase(lat_bucket{le="+Inf"}[5m]))',
         {"le=+Inf pod=p0": 1, "le=+Inf pod=p1": 1}),
        ('k8s_restarts * on (POD) group_left (team) quota',
         {"env=prod pod=p0 team=a": 30, "env=prod pod=p1 team=b": 40, "env=dev pod=p1 team=b": 20}),
        ('sum by (team) (k8s_restarts * on (POD) group_left (team) quota)', {"team=a": 30, "team=b": 60}),
        ('quota{team="a"} * on (POD) sum by (POD) (k8s_restarts)', {"pod=p0": 30}),
        ('quota and on (POD) k8s_restarts{env="dev"}', {"pod=p1 team=b": 20}),
        ('sum without (team, POD) (quota) + ignoring (POD, team) quota{team="a"}', {"": 40}),
        ('quota{team="a"} + on () group_left (POD) topk(1, k8s_restarts)', {"pod=p0 team=a": 13}),
        ('label_replace(quota, "pod", "n-$1", POD_TEXT, "p(.)")',
         {"pod=n-0 pod=p0 team=a": 10, "pod=n-1 pod=p1 team=b": 20}),
        ('label_join(quota, "all", "-", "team", POD_TEXT)',
         {"all=a-p0 pod=p0 team=a": 10, "all=b-p1 pod=p1 team=b": 20}),
        ('sum by (POD) (label_replace(quota, "k8s_pod", "all", "k8s_pod", ".*"))', {"pod=all": 30}),
        ('absent(k8s_restarts{POD="none"})', {"pod=none": 1}),
        ('sum by (POD) (quota) and on (POD) (absent(nosuch{POD="p0"}))', {"pod=p0": 10}),
        ('count_values by (POD) ("v", k8s_restarts)', {"pod=p0 v=3": 1, "pod=p1 v=1": 1, "pod=p1 v=2": 1}),
    ],
)  # fmt: skip
def test_both_forms_are_understood(p: Pipeline, pod: str, query: str, found: dict[str, float]) -> None:
    text = pod if pod.startswith('"') else f'"{pod}"'
    written = query.replace("POD_TEXT", text).replace("POD", pod)
    if "absent" in query and pod == "k8s_pod" and style(p) == "utf8":
        found = {k.replace("pod=none", "k8s_pod=none"): v for k, v in found.items()}  # nothing says otherwise
    assert ask(p, written) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('sum by ("a.b") (increase(mixed[5m]))', [({"a.b": "x"}, 1), ({"a.b": "y"}, 8), ({}, 6)]),
        ('sum by ("a-b") (increase(mixed[5m]))', [({"a-b": "y"}, 4), ({}, 11)]),
        (
            'sum by (a_b) (sum by ("a.b") (increase(mixed[5m])))',
            [({"a.b": "x"}, 1), ({"a.b": "y"}, 8), ({}, 6)],
        ),
    ],
)
def test_the_utf8_form_tells_names_apart(
    p: Pipeline, query: str, found: list[tuple[dict[str, str], float]]
) -> None:
    def shown(name: str) -> str:
        return name if style(p) == "utf8" else "a_b"

    want = {tuple((shown(k), v) for k, v in labels.items()): value for labels, value in found}
    assert p.instant(query, NOW_S) == want


def test_the_underscore_form_takes_all_that_are_one(p: Pipeline) -> None:
    """Of a series that has several the one called so counts, or the first."""
    for query in ("sum by (a_b) (increase(mixed[5m]))", "sum by (a_b) (mixed)"):
        assert p.instant(query, NOW_S) == {
            (("a_b", "x"),): 1,
            (("a_b", "w"),): 2,
            (("a_b", "y"),): 4,
            (("a_b", "z"),): 8,
        }
    # In underscores the second label of a series keeps its own name: there is no other to show it under.
    one = {(): 15.0} if style(p) == "utf8" else {(): 7.0, (("a.b", "y"),): 8.0}
    assert p.instant("sum without (a_b) (increase(mixed[5m]))", NOW_S) == one


def test_both_in_one_query_are_two(p: Pipeline) -> None:
    found = p.instant('sum by ("a.b", "a-b") (increase(mixed[5m]))', NOW_S)
    assert found == {(("a.b", "x"),): 1, (): 2, (("a-b", "y"),): 4, (("a.b", "y"),): 8}


def test_labels_that_the_query_makes(p: Pipeline) -> None:
    for name in ('"my.pod"', "my_pod"):
        query = f'sum by ({name}) (label_replace(k8s_restarts, "my.pod", "$1", "k8s_pod", "p(.)"))'
        assert p.instant(query, NOW_S) == {(("my.pod", "0"),): 3, (("my.pod", "1"),): 3}
    assert p.instant('count_values("my.value", quota{team="a"})', NOW_S) == {(("my.value", "10"),): 1}
    own = 'sum by ("k8s.pod") (label_replace(quota, "k8s.pod", "$1$1", "k8s.pod", "(.*)"))'
    assert p.instant(own, NOW_S) == {(("k8s.pod", "p0p0"),): 10, (("k8s.pod", "p1p1"),): 20}
    taken = p.instant('count by (my_value) (count_values by ("k8s.pod") ("my.value", quota))', NOW_S)
    assert taken == {(("my.value", "10"),): 1, (("my.value", "20"),): 1}


@pytest.mark.parametrize("name", ['"os.type"', "os_type"])
def test_info(p: Pipeline, name: str) -> None:
    assert ask(p, f"info(up_to, {{{name}=~'.+'}})") == {"os=linux": 5}
    assert ask(p, f"sum by ({name}) (info(up_to, {{{name}=~'.+'}}))") == {"os=linux": 5}


@pytest.mark.parametrize("name", BOTH)
def test_sorting(p: Pipeline, name: str) -> None:
    quoted = name if name.startswith('"') else f'"{name}"'
    for query, values in ((f"sort_by_label(quota, {quoted})", [10, 20]),
                          (f"sort_by_label_desc(quota, {quoted})", [20, 10])):  # fmt: skip
        value: Any = p.answer(query, Grid.instant(NOW_S * 1000)).value
        assert value.values[:, 0].tolist() == values


def test_over_a_range(p: Pipeline) -> None:
    query = 'sum by ("k8s.pod") (increase(k8s_restarts[1m]))'
    found = p.range(query, NOW_S - 60, NOW_S, 60)
    label = "k8s.pod" if style(p) == "utf8" else "k8s_pod"
    assert found == {((label, "p0"),): [None, 3.0], ((label, "p1"),): [None, 3.0]}


def test_series_that_are_one(p: Pipeline) -> None:
    """By name, by tag, of each type: `{"a.b"}` tells apart the metrics that `a_b` takes together."""
    for name, value in (("a.b", 3.0), ("a-b", 4.0)):
        assert p.instant(f'sum({{"one.{name}"}})', NOW_S) == {(): value}
    assert p.instant("one_a_b", NOW_S) == {(("__name__", "one_a_b"), ("host", "h")): 15.0}
    assert p.instant("increase(one_a_b[5m])", NOW_S) == {(("host", "h"),): 15.0}
    assert p.instant("sum(one_a_b)", NOW_S) == {(): 15.0}
    assert p.instant("count(one_a_b)", NOW_S) == {(): 1.0}
    assert p.instant("histogram_count(timing_a_b)", NOW_S) == {(): 2.0}
    assert p.instant("timing_a_b_sum", NOW_S) == {(("__name__", "timing_a_b_sum"),): 12.0}
    assert p.instant("max_over_time(timing_a_b[5m])", NOW_S) == {(): 7.0}
    assert p.instant("members_a_b", NOW_S) == {(("__name__", "members_a_b"),): 2.0}


def test_of_gauges_that_are_one_the_latest_answers(p: Pipeline) -> None:
    answer = p.answer("level_a_b", Grid.instant(NOW_S * 1000))
    value: Any = answer.value
    assert value.labels == [(("__name__", "level_a_b"),)]
    assert value.values.tolist() == [[2.0]]
    (warning,) = answer.notes.warnings
    assert warning == (
        'gauge "level_a_b": 2 series (sent as "level.a-b", "level.a.b") share labels with others;'
        " of these the latest value answers"
    )
    apart = p.answer('{"level.a.b"}', Grid.instant(NOW_S * 1000))
    assert apart.notes.warnings == []
    assert list(p.instant('{"level.a.b"}', NOW_S).values()) == [1.0]


def test_tags_that_are_one(p: Pipeline) -> None:
    found = p.instant("increase(tags[5m])", NOW_S)
    if style(p) == "underscore":
        assert found == {(("k_1", "v"),): 3.0}
    else:
        assert found == {(("k.1", "v"),): 1.0, (("k-1", "v"),): 2.0}
    assert p.instant("sum by (k_1) (increase(tags[5m]))", NOW_S) == {(("k_1", "v"),): 3.0}
    label = "k.1" if style(p) == "utf8" else "k_1"
    assert p.instant('sum by ("k.1") (increase(tags[5m]))', NOW_S) == {((label, "v"),): 1.0, (): 2.0}


def test_series_that_are_one_over_http(http_dsn: str) -> None:
    store = open_store(http_dsn, pool=2)
    migrate(store, KEPT)
    p = Pipeline.open(store, NOW_S * 1000, retention=KEPT, few_rows=0)
    p.send([*(f"{line}|T{NOW_S - 15}" for line in LINES), *LATEST])
    test_series_that_are_one(p)
    test_of_gauges_that_are_one_the_latest_answers(p)
    test_tags_that_are_one(p)
    assert p.instant('sum by ("k8s.pod") (users)', NOW_S) == {(("k8s_pod", f"p{i}"),): 1.0 for i in (0, 1)}
    p.close()
    store.close()
