"""Selecting series out of real tables: names, labels, types, views, tenants, days, limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from indexer.clickhouse.store import Store
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.series import SeriesRegistry
from indexer.intern.string_indexer import StringIndexer
from indexer.receive.messages import parse
from indexer.write.inserter import Inserter
from shim.catalog import Catalog, MetadataQueries, Selection
from shim.catalog.unlabelled_series import UnlabelledSeries
from shim.metrics import ShimMetrics
from shim.model.errors import ExecutionError
from shim.model.labels import Labels
from shim.model.matchers import Matcher, MatchOp
from shim.model.tenancy import Tenant
from shim.settings import CatalogSettings, ShimSettings
from tests.support.frames import TEN_YEARS
from tests.support.pipeline import Pipeline

T = Tenant(1, 1)
NOW_S = int(time.time()) // 86_400 * 86_400 - 43_200  # noon of yesterday: the day is clear
DAY_MS = 86_400_000
_AROUND = (NOW_S * 1000 - 3_600_000, NOW_S * 1000)

Ask = Callable[..., Selection]


def m(name: str, op: MatchOp, value: str) -> Matcher:
    return Matcher(name, op, value)


def named(name: str) -> Matcher:
    return m("__name__", "=", name)


def labels_of(selection: Selection) -> list[Labels]:
    return sorted(labels for part in selection.parts for labels in part.labels)


def values(selection: Selection, label: str) -> list[str]:
    return sorted(dict(labels).get(label, "") for labels in labels_of(selection))


@pytest.fixture
def pipeline(store: Store) -> Iterator[Pipeline]:
    pipeline = Pipeline.open(store, NOW_S * 1000)
    yield pipeline
    pipeline.close()


def ask(store: Store, *matchers: Matcher, tenant: Tenant = T, **settings: object) -> Selection:
    """Return a look-up by a catalog that knows nothing yet."""
    catalog = Catalog(store, ShimSettings(**settings))  # type: ignore[arg-type]
    return catalog.select(tenant, matchers, NOW_S * 1000 - 3_600_000, NOW_S * 1000)


def test_every_operator_on_a_label(pipeline: Pipeline) -> None:
    pipeline.send([f"req:1|c|#host:{h}" for h in ("a", "b", "ab")] + ["req:1|c"])
    store = pipeline.store

    def hosts(op: MatchOp, value: str) -> list[str]:
        return values(ask(store, named("req"), m("host", op, value)), "host")

    assert hosts("=", "a") == ["a"]
    assert hosts("=", "nosuch") == []
    assert hosts("=", "") == [""]
    assert hosts("!=", "a") == ["", "ab", "b"]
    assert hosts("!=", "") == ["a", "ab", "b"]
    assert hosts("=~", "a.*") == ["a", "ab"]
    assert hosts("=~", "a|") == ["", "a"]
    assert hosts("=~", ".*") == ["", "a", "ab", "b"]
    assert hosts("!~", "a.*") == ["", "b"]
    assert hosts("!~", ".+") == [""]
    assert values(ask(store, named("req"), m("nosuch", "=", "")), "host") == ["", "a", "ab", "b"]
    assert values(ask(store, named("req"), m("nosuch", "!=", "")), "host") == []


def test_several_conditions_on_one_label_all_hold(pipeline: Pipeline) -> None:
    pipeline.send([f"req:1|c|#host:{h}" for h in ("a", "b", "ab")])
    found = ask(pipeline.store, named("req"), m("host", "=~", "a.*"), m("host", "!=", "a"))
    assert values(found, "host") == ["ab"]


def test_every_operator_on_the_name(pipeline: Pipeline) -> None:
    pipeline.send(["a_total:1|c", "b_total:1|c", "b_gauge:1|g"])

    def names(*matchers: Matcher) -> list[str]:
        return values(ask(pipeline.store, *matchers), "__name__")

    assert names(named("a_total")) == ["a_total"]
    assert names(m("__name__", "=~", "b_.*")) == ["b_gauge", "b_total"]
    assert names(m("__name__", "=~", "a_total|b_gauge|nosuch")) == ["a_total", "b_gauge"]
    assert names(m("__name__", "!=", "a_total")) == ["b_gauge", "b_total"]
    assert names(m("__name__", "!~", ".*_total")) == ["b_gauge"]
    assert names(m("__name__", "!=", "")) == ["a_total", "b_gauge", "b_total"]
    assert names(named("b_gauge"), m("__name__", "!~", "b.*")) == []
    assert names(m("__type__", "=", "gauge")) == ["b_gauge"]
    assert names(m("__type__", "!=", "gauge")) == ["a_total", "b_total"]


def test_the_use_case_is_the_namespace_of_an_mri(pipeline: Pipeline) -> None:
    """It is hidden: a matcher's label that no series shows; a tag of its name steps aside."""
    sent: list[dict[str, Any]] = [
        {"name": "c:custom/a@none"},
        {"metric_id": "d:spans/b@none"},
        {"metric_id": 7, "tags": {"__use_case_id__": "custom"}},
    ]
    tenant = {"org_id": 1, "project_id": 1, "timestamp": NOW_S, "type": "c", "value": 1}
    body = msgspec.json.encode([{**tenant, **one} for one in sent])
    parsed = parse(body, key="k", created_ms=NOW_S * 1000, latest_s=NOW_S + 60, max_messages=9)
    pipeline.insert(parsed.units)

    def names(*matchers: Matcher) -> list[str]:
        return values(ask(pipeline.store, *matchers), "__name__")

    every = m("__name__", "=~", ".+")
    assert names(m("__use_case_id__", "=", "custom")) == ["c:custom_a_none"]
    assert names(every, m("__use_case_id__", "=~", "custom|spans")) == ["c:custom_a_none", "d:spans_b_none"]
    assert names(m("__use_case_id__", "!=", "")) == ["c:custom_a_none", "d:spans_b_none"]
    assert names(every, m("__use_case_id__", "!=", "custom")) == ["_7", "d:spans_b_none"]
    assert names(named("c:custom/a@none"), m("__use_case_id__", "=", "spans")) == []
    assert labels_of(ask(pipeline.store, named("c:custom/a@none"))) == [(("__name__", "c:custom_a_none"),)]
    aside = ("exported___use_case_id__", "custom")
    assert labels_of(ask(pipeline.store, m("exported___use_case_id__", "=", "custom"))) == [
        (("__name__", "_7"), aside)
    ]


def test_the_use_case_of_a_message_decides(pipeline: Pipeline) -> None:
    """Before the MRI's namespace; hidden, in selections whose labels are read and in those decided in SQL."""
    sent: list[dict[str, Any]] = [
        {"name": "c:custom/a@none", "value": 1},
        {"name": "c:custom/a@none", "value": 2, "use_case_id": "custom"},  # the same series
        {"name": "c:custom/a@none", "value": 4, "use_case_id": "spans"},
        {"name": "custom", "value": 8},
        {"name": "custom", "value": 16, "use_case_id": "spans", "tags": {"k": "v"}},
        {"name": "custom", "value": 32, "use_case_id": "custom"},
    ]
    every = {"org_id": 1, "project_id": 1, "timestamp": NOW_S, "type": "c"}
    body = msgspec.json.encode([{**every, **one} for one in sent])
    pipeline.insert(parse(body, key="k", created_ms=NOW_S * 1000, latest_s=NOW_S + 60, max_messages=9).units)

    def ids(value: str, op: MatchOp = "=", *more: Matcher, **settings: Any) -> set[int]:
        asked = [*(more or (m("__name__", "=~", ".+"),)), m("__use_case_id__", op, value)]
        found = ask(pipeline.store, *asked, **settings)
        return {i for part in found.parts for i in part.series_ids.tolist()}

    by_value = {value: ids(value) for value in ("custom", "spans", "")}
    assert {value: len(found) for value, found in by_value.items()} == {"custom": 2, "spans": 2, "": 1}
    assert ids("spans", "!=") == by_value["custom"] | by_value[""]
    assert ids("custom|spans", "=~") == by_value["custom"] | by_value["spans"]
    mine = named("custom")
    cases: list[tuple[MatchOp, str]] = [
        ("=", "custom"),
        ("=", ""),
        ("!=", "spans"),
        ("=~", "c.*|"),
        ("!~", ".+"),
    ]
    for op, value in cases:
        by_labels = ids(value, op, mine)
        assert ids(value, op, mine, max_series=max(1, len(by_labels))) == by_labels
    shown = labels_of(ask(pipeline.store, m("__name__", "=~", ".+")))
    assert shown == [
        (("__name__", "c:custom_a_none"),), (("__name__", "custom"),), (("__name__", "custom"), ("k", "v"))
    ]  # fmt: skip
    with pytest.raises(ExecutionError, match="matches 3 series"):
        ask(pipeline.store, mine, max_series=2)
    several = Catalog(pipeline.store, ShimSettings(max_series=2))
    with pytest.raises(ExecutionError, match="matches 3 series"):  # some are one under their labels
        several.total(T, [mine], *_AROUND)
    catalog = Catalog(pipeline.store, ShimSettings())
    queries = MetadataQueries(catalog, ShimSettings())
    assert queries.label_names(T, [], *_AROUND) == ["__name__", "k"]
    assert queries.label_names(T, [[mine]], *_AROUND) == ["__name__", "k"]
    assert queries.label_values(T, "__use_case_id__", [], *_AROUND) == []
    assert queries.label_values(T, "__use_case_id__", [[mine]], *_AROUND) == []


def test_many_series_of_one_use_case_are_totalled_without_labels(pipeline: Pipeline) -> None:
    every = {"org_id": 1, "project_id": 1, "timestamp": NOW_S, "type": "c", "value": 1}
    body = msgspec.json.encode(
        [{**every, "metric_id": 7, "use_case_id": "spans", "tags": {"n": str(n)}} for n in range(5)]
    )
    pipeline.insert(parse(body, key="k", created_ms=NOW_S * 1000, latest_s=NOW_S + 60, max_messages=9).units)
    found = Catalog(pipeline.store, ShimSettings(max_series=2)).total(T, [named("7")], *_AROUND)
    assert isinstance(found, UnlabelledSeries)
    assert len(found.series_ids()) == 5


def test_a_name_answers_to_both_its_forms(pipeline: Pipeline) -> None:
    pipeline.send(["http.requests:1|c|#http.method:GET"])
    store = pipeline.store
    shown = [(("__name__", "http_requests"), ("http_method", "GET"))]
    for name in ("http.requests", "http_requests"):
        for label in ("http.method", "http_method"):
            assert labels_of(ask(store, named(name), m(label, "=", "GET"))) == shown
            assert labels_of(ask(store, named(name), m(label, "!=", "GET"))) == []
        assert labels_of(ask(store, m("__name__", "!=", name), m("http_method", "=", "GET"))) == []
    as_stored = [(("__name__", "http.requests"), ("http.method", "GET"))]
    assert labels_of(ask(store, named("http_requests"), names="utf8")) == as_stored


def test_names_of_one_form_are_one(pipeline: Pipeline) -> None:
    pipeline.send(["a.b:1|c|#x:1", "a.b:2|c|#x:2", "a_b:1|c|#x:1", "a-b:4|c|#x:3"])
    metrics = ShimMetrics()
    catalog = Catalog(pipeline.store, ShimSettings(), metrics=metrics)
    found = catalog.select(T, [named("a_b")], 0, NOW_S * 1000)
    assert values(found, "x") == ["1", "2", "3"]
    assert metrics.registry.get_sample_value("meterhouse_shim_name_collisions_total") == 0
    assert (found.infos, found.warnings) == ((), ())
    (part,) = found.parts
    assert part.whole
    assert part.group is not None
    assert (len(part.series_ids), sorted(np.bincount(part.group).tolist())) == (4, [1, 1, 2])
    # The UTF-8 form is one of them alone.
    assert values(catalog.select(T, [named("a.b")], 0, NOW_S * 1000), "x") == ["1", "2"]


def test_two_tags_of_one_form(pipeline: Pipeline) -> None:
    pipeline.send(["c:1|c|#a.b:dot,a_b:line", "c:1|c|#a.b:dot", "c:1|c|#a_b:line"])
    store = pipeline.store
    found = ask(store, named("c"))
    # Where one series has both, the second keeps its own name.
    assert labels_of(found) == [
        (("__name__", "c"), ("a.b", "dot"), ("a_b", "line")),
        (("__name__", "c"), ("a_b", "dot")),
        (("__name__", "c"), ("a_b", "line")),
    ]
    assert values(ask(store, named("c"), m("a_b", "=", "dot")), "a_b") == ["dot"]
    assert len(labels_of(ask(store, named("c"), m("a.b", "=", "dot")))) == 2
    assert len(labels_of(ask(store, named("c"), m("a_b", "=~", ".+")))) == 3


def test_tags_named_like_our_own_labels_step_aside(pipeline: Pipeline) -> None:
    pipeline.send(["c:1|c|#__name__:evil,__type__:gauge,project_id:7", "d:1|d|#le:x"])
    store = pipeline.store
    exported = (("__type__", "gauge"), ("exported___name__", "evil"))
    assert labels_of(ask(store, named("c"))) == [
        tuple(sorted((("__name__", "c"), *exported, ("project_id", "7"))))
    ]
    assert labels_of(ask(store, named("evil"))) == []
    assert labels_of(ask(store, named("c"), m("exported___name__", "=", "evil"))) != []
    # A type that was sent is the type, for matchers: the tag and our knowledge would contradict each other.
    assert labels_of(ask(store, named("c"), m("__type__", "=", "gauge"))) != []
    assert labels_of(ask(store, named("c"), m("__type__", "=", "counter"))) == []
    assert labels_of(ask(store, named("d"), m("__type__", "=", "histogram"))) != []
    org_wide = ask(store, named("c"), tenant=Tenant(1, None))
    assert dict(labels_of(org_wide)[0]) | {} == {
        "__name__": "c", **dict(exported), "exported_project_id": "7", "project_id": "1",
    }  # fmt: skip
    assert values(ask(store, named("d_bucket")), "exported_le") == ["x"]
    assert values(ask(store, named("d")), "le") == ["x"]


def test_kinds_make_parts_and_two_types_of_one_name_both_answer(pipeline: Pipeline) -> None:
    pipeline.send(["x:1|c|#a:1", "x:1|g|#a:2", "x:1|d|#a:1", "x:bob|s|#a:3", "x:9|g|#a:1"])
    found = ask(pipeline.store, named("x"))
    assert {(p.kind, p.view, len(p.labels)) for p in found.parts} == {
        ("counter", "", 1), ("gauge", "", 1), ("histogram", "", 1), ("set", "", 1),
    }  # fmt: skip
    [info] = found.infos
    assert info == (
        'metric "x" was sent as counter and gauge and histogram and set: 1 series of the gauge are left out,'
        " since others have the same labels; __type__ picks one"
    )
    picked = ask(pipeline.store, named("x"), m("__type__", "=", "gauge"))
    assert [(p.kind, len(p.labels), p.whole) for p in picked.parts] == [("gauge", 2, True)]
    assert picked.infos == ()


def test_classic_names_of_a_distribution(pipeline: Pipeline) -> None:
    pipeline.send(["lat:1|d|#r:a", "lat:1|d|#r:b", "g:1|g"])
    store = pipeline.store
    for view in ("bucket", "count", "sum"):
        found = ask(store, named(f"lat_{view}"))
        assert [(p.kind, p.view, p.whole) for p in found.parts] == [("histogram", view, True)]
        assert values(found, "__name__") == [f"lat_{view}"] * 2
    assert ask(store, named("g_count")).parts == ()
    le = m("le", "=", "+Inf")
    (part,) = ask(store, named("lat_bucket"), le, m("r", "=", "a")).parts
    assert part.le_matchers == (le,)
    assert part.labels == [(("__name__", "lat_bucket"), ("r", "a"))]
    assert ask(store, named("lat_sum"), le).parts == ()
    counter, histogram = m("__type__", "=", "counter"), m("__type__", "=", "histogram")
    assert values(ask(store, named("lat_count"), counter), "r") == ["a", "b"]
    assert ask(store, named("lat_count"), histogram).parts == ()
    # Found when asked for, not by every pattern that happens to match.
    assert values(ask(store, m("__name__", "=~", "lat.*")), "__name__") == ["lat", "lat"]
    assert values(ask(store, m("__name__", "=~", ".+_count")), "__name__") == ["lat_count"] * 2
    both = ask(store, m("__name__", "=~", "lat|lat_count"), m("r", "=", "a"))
    assert values(both, "__name__") == ["lat", "lat_count"]


def test_a_stored_metric_wins_over_a_classic_name(pipeline: Pipeline) -> None:
    pipeline.send(["lat:1|d", "lat_count:5|g"])
    found = ask(pipeline.store, named("lat_count"))
    assert [(p.kind, p.view) for p in found.parts] == [("gauge", "")]
    assert values(ask(pipeline.store, m("__name__", "=~", ".+_(count|sum)")), "__name__") == [
        "lat_count",
        "lat_sum",
    ]


def test_parts_hold_together(pipeline: Pipeline) -> None:
    pipeline.send([f"m{n}:1|c|#i:{i}" for n in range(5) for i in range(20)])
    (part,) = ask(pipeline.store, m("__name__", "=~", "m[0-9]")).parts
    assert part.whole
    assert len(part.metric_ids) == 5
    assert len(part.labels) == len(part.series_ids) == len(part.project_ids) == 100
    assert (np.diff(part.series_ids.astype(object)) > 0).all()
    rows = pipeline.store.rows("SELECT DISTINCT series_id, metric_id FROM series")
    metric_of = dict(rows)
    names = {
        metric_of[i]: dict(labels)["__name__"] for i, labels in zip(part.series_ids, part.labels, strict=True)
    }
    assert len(names) == 5
    (some,) = ask(pipeline.store, named("m1"), m("i", "=~", "1.")).parts
    assert not some.whole
    assert len(some.labels) == 10


def test_no_tenant_sees_another(pipeline: Pipeline) -> None:
    pipeline.send(["req:1|c|#host:one"], project_id=1)
    pipeline.send(["req:1|c|#host:two", "only_two:1|c|#secret:x"], project_id=2)
    store = pipeline.store
    assert values(ask(store, named("req")), "host") == ["one"]
    assert values(ask(store, named("req"), tenant=Tenant(1, 2)), "host") == ["two"]
    assert ask(store, named("req"), tenant=Tenant(2, 1)).parts == ()
    assert ask(store, named("req"), tenant=Tenant(2, None)).parts == ()
    assert ask(store, m("__name__", "!=", ""), tenant=Tenant(1, 3)).parts == ()
    # Nothing in the selector widens it: here project_id is a label that no series has.
    assert ask(store, named("req"), m("project_id", "=", "2")).parts == ()
    assert values(ask(store, named("req"), m("project_id", "=~", ".*")), "host") == ["one"]
    assert values(ask(store, m("secret", "!=", "")), "secret") == []


def test_a_whole_org_has_project_id_as_a_label(pipeline: Pipeline) -> None:
    pipeline.send(["req:1|c|#host:one"], project_id=1)
    pipeline.send(["req:1|c|#host:one"], project_id=2)
    org = Tenant(1, None)
    (part,) = ask(pipeline.store, named("req"), tenant=org).parts
    assert sorted(part.labels) == [
        (("__name__", "req"), ("host", "one"), ("project_id", "1")),
        (("__name__", "req"), ("host", "one"), ("project_id", "2")),
    ]
    assert sorted(part.project_ids.tolist()) == [1, 2]
    assert part.whole
    (part,) = ask(pipeline.store, named("req"), m("project_id", "=", "2"), tenant=org).parts
    assert part.project_ids.tolist() == [2]
    assert not part.whole


def test_one_catalog_keeps_tenants_apart(pipeline: Pipeline) -> None:
    """Entries remembered for one tenant are not shown to another."""
    pipeline.send(["req:1|c|#host:one"], project_id=1)
    pipeline.send(["req:1|c|#host:two"], project_id=2)
    catalog = Catalog(pipeline.store, ShimSettings(), version=lambda: 1)
    for _ in range(2):
        for tenant, hosts in (
            (T, ["one"]),
            (Tenant(1, 2), ["two"]),
            (Tenant(1, None), ["one", "two"]),
            (Tenant(2, 1), []),
        ):
            found = catalog.select(tenant, [named("req")], 0, NOW_S * 1000)
            assert values(found, "host") == hosts


def test_days(pipeline: Pipeline) -> None:
    old_s = NOW_S - 3 * 86_400
    pipeline.send([f"req:1|c|#host:old|T{old_s}", f"req:1|c|#host:new|T{NOW_S}", f"gone:1|c|T{old_s}"])
    catalog = Catalog(pipeline.store, ShimSettings())

    def hosts(start_s: int, end_s: int) -> list[str]:
        return values(catalog.select(T, [named("req")], start_s * 1000, end_s * 1000), "host")

    assert hosts(NOW_S - 3600, NOW_S) == ["new"]
    assert hosts(old_s - 3600, old_s) == ["old"]
    assert hosts(old_s, NOW_S) == ["new", "old"]
    assert hosts(old_s + 86_400, old_s + 86_500) == []
    assert hosts(-10, 2**50) == ["new", "old"]
    assert catalog.select(T, [named("gone")], NOW_S * 1000, NOW_S * 1000).parts == ()


def test_too_many_series_are_refused_by_name_of_the_limit(pipeline: Pipeline) -> None:
    pipeline.send([f"req:1|c|#host:{i}" for i in range(11)])
    with pytest.raises(
        ExecutionError, match=r"matches 11 series, more than the limit of 10 \(setting max_series\)"
    ):
        ask(pipeline.store, named("req"), max_series=10)
    assert len(labels_of(ask(pipeline.store, named("req"), max_series=11))) == 11
    assert len(labels_of(ask(pipeline.store, named("req"), m("host", "=", "3"), max_series=1))) == 1
    with pytest.raises(ExecutionError, match="max_scanned_series"):
        ask(pipeline.store, named("req"), catalog=CatalogSettings(max_scanned_series=10))


def test_what_is_new_is_found_at_once(pipeline: Pipeline) -> None:
    """Without a version every look-up asks the tables; names not known yet are looked up again."""
    clock_s = [100.0]
    catalog = Catalog(pipeline.store, ShimSettings(), clock=lambda: clock_s[0])

    def hosts() -> list[str]:
        return values(catalog.select(T, [named("req")], 0, NOW_S * 1000), "host")

    assert hosts() == []
    pipeline.send(["req:1|c|#host:a"])
    clock_s[0] += 2
    assert hosts() == ["a"]
    pipeline.send(["req:1|c|#host:b,zone:z", "other:1|c"])
    assert hosts() == ["a", "b"]
    everything = m("__name__", "!=", "")
    assert values(catalog.select(T, [everything], 0, NOW_S * 1000), "__name__") == ["req", "req"]
    clock_s[0] += ShimSettings().catalog.names_max_age_s
    assert values(catalog.select(T, [everything], 0, NOW_S * 1000), "__name__") == ["other", "req", "req"]


def test_selections_are_remembered_until_the_version_changes(pipeline: Pipeline) -> None:
    registry = SeriesRegistry(1_000)
    pipeline.inserter = Inserter(
        pipeline.store, StringIndexer(ClickHouseIdStore(pipeline.store)), registry, retention=TEN_YEARS
    )
    metrics = ShimMetrics()
    catalog = Catalog(pipeline.store, ShimSettings(), version=lambda: registry.version, metrics=metrics)

    def look() -> Selection:
        return catalog.select(T, [m("__name__", "=~", "r.*")], 0, NOW_S * 1000)

    def from_memory() -> float:
        return (
            metrics.registry.get_sample_value("meterhouse_shim_catalog_lookups_total", {"source": "memory"})
            or 0.0
        )

    pipeline.send(["req:1|c|#host:a"])
    first = look()
    assert look() is first
    assert from_memory() == 1
    pipeline.send(["req:1|c|#host:a"])  # nothing new
    assert look() is first
    pipeline.send(["req2:1|c|#host:b"])
    assert values(look(), "host") == ["a", "b"]
    assert from_memory() == 2


@pytest.mark.parametrize("totals_from", [10_000, 1])
def test_a_selection_holds_while_nothing_registered_concerns_it(pipeline: Pipeline, totals_from: int) -> None:
    registry = SeriesRegistry(1_000)
    pipeline.inserter = Inserter(
        pipeline.store, StringIndexer(ClickHouseIdStore(pipeline.store)), registry, retention=TEN_YEARS
    )
    metrics = ShimMetrics()
    catalog = Catalog(
        pipeline.store,
        ShimSettings(),
        version=lambda: registry.version,
        metrics=metrics,
        totals_from=totals_from,
        changes=registry.changes,
    )

    def from_memory(name: str) -> bool:
        before = sample("meterhouse_shim_catalog_lookups_total", {"source": "memory"}) or 0
        catalog.total(T, [named(name)], NOW_S * 1000, NOW_S * 1000)
        return sample("meterhouse_shim_catalog_lookups_total", {"source": "memory"}) == before + 1

    sample: Callable[..., float | None] = metrics.registry.get_sample_value
    pipeline.send(["req:1|c|#host:a", "req:1|c|#host:b", "took:1|d|#host:a", "took:1|d|#host:b"])
    assert not from_memory("req")
    assert not from_memory("took_count")
    pipeline.send(["other:1|c", f"req:1|c|#host:z|T{NOW_S - 2 * 86_400}"])
    assert from_memory("req"), "another metric, or another day"
    assert from_memory("took_count")
    pipeline.send(["req:1|c|#host:c"])
    assert not from_memory("req")
    assert from_memory("took_count")
    pipeline.send(["took:1|d|#host:c"])
    assert not from_memory("took_count"), "a view of the metric that changed"
    pipeline.send(["took.count:1|c"])
    assert not from_memory("took_count"), "a metric of that very name wins"
    registry.forget()
    assert not from_memory("req")


def test_a_refusal_is_repeated_for_a_moment_without_a_statement(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.send([f"req:1|c|#host:{n}" for n in range(11)])
    now_s = [100.0]
    settings = ShimSettings(max_series=10)
    catalog = Catalog(pipeline.store, settings, clock=lambda: now_s[0])
    statements: list[str] = []
    fetch = Store.fetch

    def noted(self: Store, sql: str, *args: Any, **more: Any) -> Any:
        statements.append(sql)
        return fetch(self, sql, *args, **more)

    monkeypatch.setattr(Store, "fetch", noted)

    def refused() -> str:
        with pytest.raises(ExecutionError, match="matches 11 series") as e:
            catalog.select(T, [named("req")], 0, NOW_S * 1000)
        return str(e.value)

    first = refused()
    assert statements
    statements.clear()
    assert refused() == first
    assert statements == []
    assert len(labels_of(catalog.select(T, [named("req"), m("host", "=", "3")], 0, NOW_S * 1000))) == 1
    statements.clear()
    now_s[0] += settings.catalog.names_max_age_s
    assert refused() == first
    assert statements


def test_the_memory_of_labels_is_bounded(pipeline: Pipeline) -> None:
    pipeline.send([f"m{n}:1|c|#i:{i}" for n in range(6) for i in range(10)])
    metrics = ShimMetrics()
    settings = ShimSettings(catalog=CatalogSettings(cache_series=25, cache_strings=4))
    catalog = Catalog(pipeline.store, settings, metrics=metrics)
    sample: Callable[..., float | None] = metrics.registry.get_sample_value
    for _ in range(2):
        for n in range(6):
            assert len(labels_of(catalog.select(T, [named(f"m{n}")], 0, NOW_S * 1000))) == 10
            assert (sample("meterhouse_shim_catalog_series") or 0) <= 25
    evicted = "meterhouse_shim_catalog_evictions_total"
    assert (sample(evicted, {"cache": "rosters"}) or 0) >= 4
    assert (sample(evicted, {"cache": "strings"}) or 0) > 0
    # A metric larger than the whole memory is answered all the same.
    assert len(labels_of(catalog.select(T, [m("__name__", "!=", "")], 0, NOW_S * 1000))) == 60
    small = ShimSettings(catalog=CatalogSettings(cache_series=5))
    assert len(labels_of(Catalog(pipeline.store, small).select(T, [named("m1")], 0, NOW_S * 1000))) == 10


def test_many_metrics_in_one_look_up(pipeline: Pipeline) -> None:
    """More metrics than are bound by id: they travel beside the statement."""
    pipeline.send([f"many_{n}:1|c|#i:{n}" for n in range(2_100)] + ["few:1|c"])
    found = ask(pipeline.store, m("__name__", "=~", "many_.*"))
    assert sorted(map(int, values(found, "i"))) == list(range(2_100))


def test_values_are_sieved_where_the_series_are(pipeline: Pipeline) -> None:
    """The sieve knows values, not labels: series that pass it are still matched label by label."""
    pipeline.send(["req:1|c|#a:x,b:y", "req:1|c|#a:y,b:x", "req:1|c|#a:x,b:x", "req:1|c|#a:200,b:x"])
    store = pipeline.store

    def pairs(*matchers: Matcher) -> list[tuple[str, str]]:
        found = ask(store, named("req"), *matchers)
        assert not any(part.whole for part in found.parts)
        return [(dict(labels)["a"], dict(labels)["b"]) for labels in labels_of(found)]

    assert pairs(m("a", "=", "x")) == [("x", "x"), ("x", "y")]
    assert pairs(m("a", "=", "x"), m("b", "=", "x")) == [("x", "x")]
    assert pairs(m("a", "=~", "x|200")) == [("200", "x"), ("x", "x"), ("x", "y")]
    assert pairs(m("a", "=", "200")) == [("200", "x")]
    assert pairs(m("a", "=", "never"), m("b", "=", "x")) == []
    assert pairs(m("b", "=", "x"), m("a", "!=", "x")) == [("200", "x"), ("y", "x")]


def test_ids_that_have_no_string_are_shown_as_digits(pipeline: Pipeline) -> None:
    """The seeds' messages may carry ids of their own."""
    body = msgspec.json.encode(
        [
            {"org_id": 1, "project_id": 1, "metric_id": metric_id, "timestamp": NOW_S, "type": "c",
             "value": 2, "tags": {"777": 888, "host": "a"}}
            for metric_id in range(12_345, 92_346, 10_000)
        ]
    )  # fmt: skip
    parsed = parse(body, key="k", created_ms=NOW_S * 1000, latest_s=NOW_S + 60, max_messages=9)
    pipeline.insert(parsed.units)
    store = pipeline.store
    shown = [(("_777", "888"), ("__name__", "_12345"), ("host", "a"))]
    for name in ("12345", "_12345"):
        assert labels_of(ask(store, named(name))) == shown
        assert labels_of(ask(store, named(name), m("777", "=", "888"))) == shown
        assert labels_of(ask(store, named(name), m("_777", "=", "888"), m("host", "=", "a"))) == shown
        assert labels_of(ask(store, named(name), m("777", "=", "889"))) == []
    names = [f"_{i}2345" for i in range(1, 10)]
    assert values(ask(store, m("__name__", "=~", "_.+")), "__name__") == names
    # As they were shown before, and as Prometheus escapes them: one name for all, which is one series then.
    found = ask(store, named("_2345"), m("_77", "=", "888"))
    assert labels_of(found) == [(("_777", "888"), ("__name__", "_2345"), ("host", "a"))]
    assert len(found.parts[0].series_ids) == 9


def statements(store: Store, run: Callable[[], object]) -> int:
    """How many SELECTs `run` made."""

    def so_far() -> int:
        rows = store.rows("SELECT value FROM system.events WHERE event = 'SelectQuery'")
        return int(rows[0][0])

    before = so_far()
    run()
    return so_far() - before - 1  # the first of its own count is in the second


def test_what_was_warmed_is_not_looked_up_again(pipeline: Pipeline) -> None:
    pipeline.send([f"{name}:1|c|#host:{h},zone:z" for name in ("req", "err") for h in ("a", "b")])
    store = pipeline.store
    asked = (named("req"), m("host", "=", "a"), m("zone", "=", "z"))

    def select(catalog: Catalog) -> Selection:
        return catalog.select(T, asked, NOW_S * 1000 - 3_600_000, NOW_S * 1000)

    cold, warmed = (Catalog(store, ShimSettings(), version=lambda: 1) for _ in range(2))
    of_cold = statements(store, lambda: select(cold))
    warmed.warm(T, NOW_S * 1000)
    of_warmed = statements(store, lambda: select(warmed))
    assert (of_cold, of_warmed) == (6, 2)  # values of matchers to ids, and which series are alive, remain
    assert labels_of(select(warmed)) == labels_of(select(cold))

    def a_day(catalog: Catalog) -> Selection:
        return catalog.select(T, asked, NOW_S * 1000 - 86_400_000, NOW_S * 1000)

    assert statements(store, lambda: a_day(warmed)) == 1  # which series are alive
    assert labels_of(a_day(warmed)) == labels_of(a_day(cold))


def test_new_names_are_seen_after_warming(pipeline: Pipeline) -> None:
    pipeline.send(["req:1|c"])
    version = 1
    catalog = Catalog(pipeline.store, ShimSettings(), version=lambda: version)
    catalog.warm(T, NOW_S * 1000)
    pipeline.send(["err:1|c"])
    version = 2
    found = catalog.select(T, (m("__name__", "=~", ".+"),), NOW_S * 1000 - 3_600_000, NOW_S * 1000)
    assert values(found, "__name__") == ["err", "req"]


def test_more_series_than_are_kept_are_not_warmed(pipeline: Pipeline) -> None:
    pipeline.send([f"req:1|c|#host:h{i}" for i in range(5)])
    few = ShimSettings(catalog=CatalogSettings(cache_series=8))
    catalog = Catalog(pipeline.store, few, version=lambda: 1)
    made = statements(pipeline.store, lambda: catalog.warm(T, NOW_S * 1000))
    assert made == 4  # names, their strings, that there are too many, and names of two days
