"""Names: their forms, the matchers that find them, and how they are shown."""

from __future__ import annotations

import pytest

from shim.catalog.metadata import unit_of
from shim.catalog.names import (
    Metric,
    Names,
    exact_values,
    is_id,
    make_key,
    reserved_labels,
)
from shim.catalog.types import Kind
from shim.model.matchers import Matcher, MatchOp
from shim.model.name_forms import label_form, label_forms, metric_form, metric_forms


def metric(number: int, name: str, *kinds: Kind) -> Metric:
    return Metric(number, name, frozenset(kinds or ("counter",)))


NAMES = Names(
    [
        metric(1, "http.requests"),
        metric(2, "http_requests"),
        metric(3, "lat", "histogram"),
        metric(4, "db.lat", "histogram", "gauge"),
        metric(5, "db_lat_sum", "gauge"),
        metric(6, "zeta", "set"),
    ]
)


def find(*matchers: tuple[MatchOp, str]) -> list[str]:
    targets = NAMES.find([Matcher("__name__", op, value) for op, value in matchers])
    return [f"{t.metric.name}/{t.view}" if t.view else t.metric.name for t in targets]


@pytest.mark.parametrize(
    ("name", "of_metric", "of_label"),
    [
        ("a_b", "a_b", "a_b"),
        ("a.b-c", "a_b_c", "a_b_c"),
        ("a:b", "a:b", "a_b"),
        ("9lives", "_9lives", "_9lives"),
        ("12345", "_12345", "_12345"),
        ("a9", "a9", "a9"),
        ("", "_", "_"),
        ("-", "_", "_"),
        # Latin: only accents are lost. `µ` and `°` are signs of Latin keyboards.
        ("größe.x", "gr__e_x", "gr__e_x"),
        ("latency_µs", "latency__s", "latency__s"),
        ("a\u2013b", "a_b", "a_b"),
        # Other scripts, alone and beside ASCII: they would all be underscores.
        ("ü", "ü", "ü"),
        ("温度", "温度", "温度"),
        ("Температура.воды", "Температура.воды", "Температура.воды"),
        ("cpu.温度", "cpu.温度", "cpu.温度"),
        ("٣x", "٣x", "٣x"),
        ("cpu.🔥", "cpu.🔥", "cpu.🔥"),
    ],
)
def test_underscore_forms(name: str, of_metric: str, of_label: str) -> None:
    assert (metric_form(name), label_form(name)) == (of_metric, of_label)


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("a_b", ("a_b",)),
        ("a.b", ("a.b", "a_b")),
        ("9lives", ("9lives", "_9lives", "_lives")),  # the last is Prometheus' escaping
        ("12345", ("12345", "_12345", "_2345")),
        ("cpu.温度", ("cpu.温度", "cpu___")),
        ("温度", ("温度",)),
        ("...", ("...", "___")),
    ],
)
def test_all_that_a_name_answers_to(name: str, forms: tuple[str, ...]) -> None:
    assert metric_forms(name) == label_forms(name) == forms


@pytest.mark.parametrize(
    ("matchers", "found"),
    [
        ([("=", "http.requests")], ["http.requests"]),
        ([("=", "http_requests")], ["http.requests", "http_requests"]),
        ([("=", "nosuch")], []),
        ([("=", "")], []),
        ([("=", "lat_bucket")], ["lat/bucket"]),
        ([("=", "db.lat_sum")], ["db.lat/sum"]),
        ([("=", "db_lat_sum")], ["db_lat_sum"]),  # stored under this very name
        ([("=", "db_lat_count")], ["db.lat/count"]),
        ([("=", "zeta_count")], []),
        ([("=", "lat_count_count")], []),
        ([("=~", "lat|lat_sum|zeta|lat")], ["lat", "lat/sum", "zeta"]),
        ([("=~", "lat.*")], ["lat"]),
        ([("=~", ".*_sum")], ["db_lat_sum", "lat/sum"]),
        ([("=~", "http.+")], ["http.requests", "http_requests"]),
        ([("=~", "http\\..+")], ["http.requests"]),
        ([("!=", "http_requests")], ["db.lat", "db_lat_sum", "lat", "zeta"]),
        ([("!=", "http.requests")], ["db.lat", "db_lat_sum", "http_requests", "lat", "zeta"]),
        ([("!~", ".*_.*")], ["lat", "zeta"]),
        ([("=~", ".*lat.*"), ("!~", "db.*")], ["lat"]),
        ([("=", "lat_sum"), ("!~", ".*_sum")], []),
        ([], ["db.lat", "db_lat_sum", "http.requests", "http_requests", "lat", "zeta"]),
    ],
)
def test_finding(matchers: list[tuple[MatchOp, str]], found: list[str]) -> None:
    assert find(*matchers) == found


def test_shown_names() -> None:
    assert "http_requests" in NAMES.shown("underscore")
    assert "http.requests" not in NAMES.shown("underscore")
    assert {"http.requests", "db.lat_bucket", "lat_count"} <= NAMES.shown("utf8")
    assert metric(1, "a.b").shown("underscore", "sum") == "a_b_sum"
    assert [m.name for m in NAMES.shared("underscore")["http_requests"]] == ["http.requests", "http_requests"]
    assert NAMES.shared("utf8") == {}


def test_keys() -> None:
    reserved = reserved_labels(org_wide=True, view="bucket")
    assert make_key("a.b", "underscore", reserved=reserved).shown == "a_b"
    assert make_key("a.b", "utf8", reserved=reserved).shown == "a.b"
    for name in ("__name__", "project_id", "le", "project.id"):
        key = make_key(name, "underscore", reserved=reserved)
        assert key.shown.startswith("exported_")
        assert not key.answers_to(name)
    assert make_key("\0set", "utf8", reserved=reserved).shown == "_set"
    assert make_key("le", "underscore", reserved=reserved_labels(org_wide=False, view="")).shown == "le"


def test_units() -> None:
    units = [unit_of(n) for n in ("request_seconds", "sent_bytes_total", "requests_total", "seconds", "x")]
    assert units == ["seconds", "bytes", "", "seconds", ""]


@pytest.mark.parametrize(
    ("matcher", "values"),
    [
        (Matcher("host", "=", "a.b"), {"a.b"}),
        (Matcher("host", "=", ""), set()),
        (Matcher("host", "!=", "a"), set()),
        (Matcher("host", "=~", "a|b-c|d e"), {"a", "b-c", "d e"}),
        (Matcher("host", "=~", "a|"), set()),
        (Matcher("host", "=~", "|a"), set()),
        (Matcher("host", "=~", "a.b"), set()),
        (Matcher("host", "=~", "(a|b)"), set()),
        (Matcher("host", "=~", "a\\|b"), set()),
        (Matcher("host", "!~", "a|b"), set()),
        (Matcher("__name__", "=", "a"), set()),
        (Matcher("__type__", "=", "gauge"), set()),
        (Matcher("le", "=", "1"), set()),
        (Matcher("project_id", "=", "1"), {"1"}),
    ],
)
def test_values_that_tags_must_have(matcher: Matcher, values: set[str]) -> None:
    assert exact_values(matcher, org_wide=False) == values


def test_project_id_of_a_whole_org_is_no_tag() -> None:
    assert exact_values(Matcher("project_id", "=", "1"), org_wide=True) == set()


def test_ids_without_strings() -> None:
    asked = ("0", "1", "200", str(2**64 - 1), str(2**64), "-1", "1.0", "", "x", "٣")
    assert [is_id(text) for text in asked] == [False, True, True, True] + [False] * 6
