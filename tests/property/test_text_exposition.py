"""The text format as prometheus_client reads it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from shim.http.text_exposition import Sample, exposition, series_text
from shim.model.labels import NAME, make
from tests.unit.shim.http.test_text_exposition import GAUGE, labels_of

CHARACTERS = st.characters(exclude_characters=":", exclude_categories=["Cs"])


NAMES = st.text(CHARACTERS, min_size=1, max_size=8) | st.sampled_from(
    ["a", "a.b", 'q"', "x\\", "n\nl", "é", "9", "{", "#"]
)


KEYS = NAMES.map("k{}".format)  # prometheus-client refuses labels that begin with `__`


def coded(name: str) -> str:
    """Return the name as a reader sees it that knows no UTF-8: metrics here have no colons."""
    return series_text(labels_of("x", **{name: "v"}), utf8=False).removeprefix("x{").removesuffix('="v"}')


@given(
    st.lists(
        st.tuples(NAMES, st.dictionaries(KEYS, st.text(min_size=1, max_size=8), max_size=3)), max_size=5
    ),
    st.text(max_size=10),
)
def test_prometheus_client_reads_back_what_was_meant(
    series: list[tuple[str, dict[str, str]]], help_: str
) -> None:
    """In underscores: as many series, with their values and labels, and no line that a name has forged."""
    samples = [
        Sample(make({NAME: name, **{k: v for k, v in pairs.items() if k != NAME}}), str(i), 1_000)
        for i, (name, pairs) in enumerate(series)
    ]
    metadata = {name: [{**GAUGE, "help": help_}] for name, _ in series}
    text = exposition(samples, metadata, utf8=False)
    wanted = set()
    for sample in samples:
        pairs: dict[str, str] = {}
        for key, value in sample.labels:
            pairs.setdefault(coded(key) if key != NAME else NAME, value)
        name = coded(pairs.pop(NAME))
        wanted.add((name, tuple(sorted(pairs.items()))))
    read = [s for family in text_string_to_metric_families(text) for s in family.samples]
    assert {(s.name, tuple(sorted(s.labels.items()))) for s in read} == wanted
    assert text.count("# TYPE") == len({dict(s.labels)[NAME] for s in samples})
