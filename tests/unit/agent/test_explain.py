"""Explanations of lines: they say the same as the agent does."""

from __future__ import annotations

import random
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from agent.aggregate.aggregator import Aggregator
from agent.cli.explain import WORDS, Explained, MappedBy, explain, text
from agent.mapping.config_file import parse
from agent.protocol.line import GaugeDeltas, Ignored, Limits, Reason, Skip
from agent.settings import AgentSettings

T_MS = 1_700_000_005_000
BUCKET = 1_700_000_000
SETTINGS = AgentSettings(tags={"pod": "p"}, lines=Limits(name_tags=("influx",)))
MAPPER = parse(
    """mappings:
- {match: shop.*.hits, name: hits, labels: {shop: $1}, scale: 10}
- {match: noise.*, action: drop}
- {match: none.*, name: $2}
- {match: gauge.*, name: level, metric_type: gauge}
"""
).mapper(SETTINGS.lines)


def one(line: bytes) -> Explained:
    (explained,) = explain(line, SETTINGS, MAPPER, T_MS)
    return explained


def test_a_taken_line() -> None:
    assert one(b"shop.a.hits:1:2|ms|@0.1|#a:b,a:c|y\r") == Explained(
        line="shop.a.hits:1:2|ms|@0.1|#a:b,a:c|y\r",
        outcome="taken",
        type="distribution",
        name="hits",
        tags={"a": "c", "pod": "p", "shop": "a"},
        values=(10.0, 20.0),
        weight=10.0,
        scale=10.0,
        ignored=("duplicate_tag", "unknown_field"),
        mapping=MappedBy(1, 2, "shop.*.hits"),
        bucket=BUCKET,
    )


def test_gauges_sets_and_counters() -> None:
    assert (one(b"x:1:+2|g").values, one(b"x:1:+2|g").deltas) == ((1.0, 2.0), (False, True))
    assert one(b"gauge.x:-1|c").deltas == (True,)
    assert one(b"x:a\xff|s").member == "a\\xff"
    assert one(b"x:5|m").type == "counter"
    assert one(b"x,a=b:5|c").tags == {"a": "b", "pod": "p"}


@pytest.mark.parametrize(
    ("line", "deltas", "why"),
    [
        (
            b"x:-7|g",
            "auto",
            "a delta: agent.lines.gauge_deltas = auto, and the line has no mark of DogStatsD",
        ),
        (b"x:-7|g|#a:b", "auto", "no delta: agent.lines.gauge_deltas = auto, and the line has a mark of Dog"),
        (b"x:-7|g|T5", "signed", "no delta: the line has a `|T`"),
        (b"x:-7|g", "plus", "no delta: agent.lines.gauge_deltas = plus"),
        (b"x:+7|g", "plus", "a delta: agent.lines.gauge_deltas = plus"),
        (b"x:7|g", "auto", ""),
        (b"x:-7|c", "auto", ""),
        (b"gauge.x:-7|g|#a:b", "never", "a delta: gauge_deltas: signed of the mapping"),
    ],
)
def test_what_a_sign_of_a_gauge_means(line: bytes, deltas: GaugeDeltas, why: str) -> None:
    settings = AgentSettings(lines=Limits(gauge_deltas=deltas))
    rules = "mappings: [{match: gauge.*, name: level, gauge_deltas: signed}]"
    (explained,) = explain(line, settings, parse(rules).mapper(settings.lines), T_MS)
    assert explained.sign.startswith(why)
    assert bool(explained.sign) == bool(why)
    assert any(explained.deltas) == why.startswith("a delta")


def test_skipped_lines() -> None:
    assert one(b"noise.x:1|c") == Explained(
        line="noise.x:1|c",
        outcome="skipped",
        reason="mapping",
        because=WORDS[Skip.MAPPING],
        mapping=MappedBy(2, 3, "noise.*"),
    )
    found = one(b"none.x:1|c").mapping
    assert found is not None
    assert found.why == "the resulting name is empty"
    assert one(b"_e{1,1}:a|b").reason == "event"
    assert one(b"").reason == "empty"


def test_refused_lines() -> None:
    assert one(b"caf\xe9:1|c") == Explained(
        line="caf\\xe9:1|c", outcome="refused", reason="invalid_utf8", because=WORDS[Reason.INVALID_UTF8]
    )
    assert one(b"shop.a.hits:x|c").mapping == MappedBy(1, 2, "shop.*.hits")


@pytest.mark.parametrize(
    ("time", "bucket", "moved"),
    [
        (b"1700000001", BUCKET, ""),
        (b"1699990000", 1_699_996_400, "old"),
        (b"1800000000", 1_700_000_060, "future"),
    ],
)
def test_times(time: bytes, bucket: int, moved: str) -> None:
    explained = one(b"x:1|c|T" + time)
    assert (explained.bucket, explained.moved) == (bucket, moved)


def test_further_samples_are_explained_each() -> None:
    explained = explain(b"x:1|ms:2|c:z|g", SETTINGS, MAPPER, T_MS)
    assert [(e.line, e.outcome, e.type) for e in explained] == [
        ("x:1|ms", "taken", "distribution"),
        ("x:2|c", "taken", "counter"),
        ("x:z|g", "refused", ""),
    ]


def test_the_text() -> None:
    lines = (
        b"shop.a.hits:1:2|c|@0.1|#a:b,a:c", b"x:1:+2|g|y", b"x:u|s|T5", b"noise.x:1|c", b"none.x:1|c",
        b"x:1|c:z|g",
    )  # fmt: skip
    assert (
        "\n".join(text(explain(line, SETTINGS, MAPPER, T_MS)) for line in lines)
        == """\
shop.a.hits:1:2|c|@0.1|#a:b,a:c
  mapping   1 (shop.*.hits), line 2
  series    counter hits{a="c",pod="p",shop="a"}
  adds      10.0, 20.0, each 10.0 times (scaled by 10.0)
  bucket    2023-11-14T22:13:20Z (1700000000)
  left out  duplicate_tag: a tag whose key is repeated later
x:1:+2|g|y
  series    gauge x{pod="p"}
  adds      value 1.0, then 2.0 to its last value
  sign      a delta: agent.lines.gauge_deltas = auto, and the line has no mark of DogStatsD; untagged \
lines of datadogpy have none either: set `never` for them
  bucket    2023-11-14T22:13:20Z (1700000000)
  left out  unknown_field: an unknown field
x:u|s|T5
  series    set x{pod="p"}
  adds      member u
  bucket    2023-11-14T21:13:20Z (1699996400), the oldest accepted one: its time is outside
noise.x:1|c
  skipped   mapping: the mapping drops it
  mapping   2 (noise.*), line 3
none.x:1|c
  skipped   mapping: the mapping drops it
  mapping   3 (none.*), line 4: the resulting name is empty
2 samples of one name, each a line of its own:
x:1|c
  series    counter x{pod="p"}
  adds      1.0
  bucket    2023-11-14T22:13:20Z (1700000000)
x:z|g
  refused   bad_value: a value is not a decimal number, or (scaled and weighted) too large for a float"""
    )


def test_the_documentation_s_example() -> None:
    page = (Path(__file__).parents[3] / "docs" / "mapping.md").read_text()
    file = parse(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    ((line, said),) = re.findall(r"--line '(.*?)'\n(.*?)\n```", page, re.DOTALL)
    settings = AgentSettings()
    explained = explain(line.encode(), settings, file.mapper(settings.lines), T_MS)
    assert text(explained) == said
    assert not file.notes


def test_the_guide_s_file_of_statsd_exporter_is_used_unchanged() -> None:
    page = (Path(__file__).parents[3] / "docs" / "migrate-statsd-exporter.md").read_text()
    (toml,), (yaml,) = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("toml", "yaml"))
    settings = msgspec.convert(tomllib.loads(toml)["agent"], AgentSettings)
    file = parse(yaml)
    examples = re.findall(r"--line '(.*?)'\n(.*?)\n```", page, re.DOTALL)
    assert len(examples) == 4
    for line, shown in examples:
        assert text(explain(line.encode(), settings, file.mapper(settings.lines), T_MS)) == shown
    noted = " ".join(str(note) for note in file.notes)
    assert all(key in noted for key in ("observer_type", "summary_options"))


def test_everything_that_is_counted_has_words() -> None:
    assert set(WORDS) == {*Reason, *Skip, *Ignored}


def test_it_agrees_with_what_the_core_counts() -> None:
    """Over lines of all kinds, half of them spoilt."""
    random_ = random.Random(7)
    core = Aggregator(SETTINGS.aggregate, SETTINGS.lines, SETTINGS.tags, MAPPER)
    outcomes = {"taken": 0, "skipped": 0, "refused": 0}
    parts = (
        (b"shop.a.hits", b"noise.x", b"none.x", b"gauge.y", b"x,a=b", b"x", b"", b"\xff", b"_e{"),
        (b":1", b":+1:2", b":u", b":", b"", b":1e999"),
        (b"|c", b"|g", b"|ms", b"|s", b"|q", b"|c:2|ms", b""),
        (b"", b"|@0.5", b"|@2", b"|#a:b,a:c", b"|T1700000000", b"|T1", b"|Tx", b"|y"),
    )
    for _ in range(2_000):
        line = b"".join(random_.choice(part) for part in parts)
        explained = explain(line, SETTINGS, MAPPER, T_MS)
        for sample in explained:
            outcomes[sample.outcome] += sample.reason != "empty"
        core.add(line, T_MS)
    assert outcomes["refused"] == sum(core.stats.bad.values())
    assert outcomes["skipped"] == sum(core.stats.skipped.values())
    assert sum(outcomes.values()) == core.stats.lines
    assert min(outcomes.values()) > 200
