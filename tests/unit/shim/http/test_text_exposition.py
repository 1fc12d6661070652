"""The text format: prometheus-client's parser reads back the samples that were written."""

from __future__ import annotations

from shim.http.text_exposition import Metadata, Sample, exposition, series_text
from shim.model.labels import NAME, Labels, make

GAUGE = {"type": "gauge", "help": "h", "unit": ""}


def labels_of(name: str, **pairs: str) -> Labels:
    return make({NAME: name, **pairs})


def test_families_with_their_help_and_type() -> None:
    metadata: Metadata = {
        "lat": [{"type": "histogram", "help": "Time.", "unit": "seconds"}],
        "hits": [{"type": "counter", "help": 'Hits \\ of\n"all".', "unit": ""}],
        "two": [{"type": "counter", "help": "a", "unit": ""}, {"type": "gauge", "help": "b", "unit": ""}],
        "unused": [GAUGE],
    }
    samples = [
        Sample(labels_of("lat_sum"), "0.65", 7),
        Sample(labels_of("hits", b="2"), "2", 7),
        Sample(labels_of("lat_bucket", le="1.0"), "1", 7),
        Sample(labels_of("hits", a='q"\\\n'), "1", 7),
        Sample(labels_of("two"), "3", 7),
        Sample(labels_of("lat_count"), "1", 8),
        Sample(labels_of("hits_sum"), "4", 7),  # hits is not a histogram
        Sample(make({"computed": "yes"}), "5", 7),
    ]
    assert (
        exposition(samples, metadata, utf8=False)
        == r"""_{computed="yes"} 5 7
# HELP hits Hits \\ of\n"all".
# TYPE hits counter
hits{a="q\"\\\n"} 1 7
hits{b="2"} 2 7
hits_sum{} 4 7
# HELP lat Time.
# TYPE lat histogram
lat_bucket{le="1.0"} 1 7
lat_count{} 1 8
lat_sum{} 0.65 7
# HELP two a
# TYPE two untyped
two{} 3 7
"""
    )


def test_names_of_other_scripts_stay_apart() -> None:
    """As Prometheus codes them; the label API takes that form, too."""
    first, second = labels_of("温度", b="1"), labels_of("湿_度", größe="2")
    assert series_text(first, utf8=False) == 'U___6E29__5EA6_{b="1"}'
    assert series_text(second, utf8=False) == 'U___6E7F____5EA6_{gr__e="2"}'
    assert series_text(first, utf8=True) == '{"温度",b="1"}'


def test_names_in_both_forms() -> None:
    labels = labels_of(
        "http.requests", **{"k8s.pod": "p", "k8s_pod": "later", 'x"} 1\nforged{': "v", "ok": "y"}
    )
    assert series_text(labels, utf8=False) == 'http_requests{k8s_pod="p",ok="y",x___1_forged_="v"}'
    assert series_text(labels, utf8=True) == (
        r'{"http.requests","k8s.pod"="p",k8s_pod="later",ok="y","x\"} 1\nforged{"="v"}'
    )
