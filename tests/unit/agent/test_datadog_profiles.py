"""Datadog's mapper profiles: the result of each name by them. Meaning and first cases: Datadog's agent."""

from __future__ import annotations

import pytest

from agent.mapping.config_file import MappingError, parse
from agent.mapping.mapper import MappingOutcome
from agent.protocol.line import Kind, Limits, MetricKey
from agent.wire.metadata import MetricDescription

PROFILES = """
api_key: secret
dogstatsd_port: 8125
logs_config: {processing_rules: [{type: exclude_at_match, name: x, pattern: y}]}
dogstatsd_mapper_profiles:
  - name: airflow
    prefix: "airflow."
    mappings:
      - match: "airflow.job.duration_sec.*.*"
        name: "airflow.job.duration"
        tags: {job_type: "$1", job_name: "${2}"}
      - match: "airflow.job.size.*.*"
        name: "airflow.job.size.$1"
      - match: 'airflow\\.job\\.([a-z]+)\\.(?P<rest>.*)'
        match_type: regex
        name: "airflow.$1"
        tags: {rest: "$rest", all: "$0", stuck: "$1_x"}
      - match: "airflow.job.*.*"
        name: never
  - name: parts
    prefix: "my"
    mappings:
      - {match: "my-*_x.y*", name: "parts", tags: {a: $1, b: $2}}
      - {match: "a|my.end", match_type: regex, name: either}
  - name: rest
    prefix: "*"
    mappings:
      - {match: "*.last", name: last, tags: {what: $1}}
      - {match: "airflow.other", name: other}
"""
BECOMES = {
    "airflow.job.duration_sec.my_type.my_name": "airflow.job.duration{job_name=my_name,job_type=my_type}",
    "airflow.job.duration_sec..b": "airflow.job.duration{job_name=b}",
    "airflow.job.duration_sec.a.b.c": "",  # `*` takes no dot; `duration_sec` is not [a-z]+
    "airflow.job.size.a.b": "airflow.job.size.a{}",
    "airflow.job.start.a.b": "airflow.start{all=airflow.job.start.a.b,rest=a.b}",
    "airflow.job.start.a": "airflow.start{all=airflow.job.start.a,rest=a}",
    "airflow.other": "other{}",  # of a later profile
    "my-a_x.yb": "parts{a=a,b=b}",
    "my-a.b_x.y": "",
    "my-_x.y": "parts{}",
    "my.end": "either{}",
    "my.my.end": "either{}",  # `^a|my.end$`: the anchors are text, as there
    "a.b": "",  # begins with `a`, but not with the prefix
    "b.last": "last{what=b}",
    "a.b.last": "",
    "AIRFLOW.other": "",
}


@pytest.mark.parametrize("name", BECOMES)
@pytest.mark.parametrize("kind", [Kind.COUNTER, Kind.SET])
def test_what_a_name_becomes(name: str, kind: Kind) -> None:
    mapped = parse(PROFILES).mapper(Limits()).explain(MetricKey(kind, name, ()))
    assert mapped.head is not None
    assert mapped.head.kind is kind
    if mapped.result is MappingOutcome.UNMAPPED:
        assert BECOMES[name] == ""
        assert mapped.head.name == name
    else:
        tags = ",".join(f"{key}={value}" for key, value in mapped.head.tags)
        assert f"{mapped.head.name}{{{tags}}}" == BECOMES[name]


def test_keys_of_ours() -> None:
    file = parse("""dogstatsd_mapper_profiles:
- name: n
  prefix: p.
  mappings:
  - {match: p.*, name: p_seconds, timer_unit: s, help: Of p., unit: seconds, buckets: [1, 2]}
  - {match: "p.*.*", name: q_seconds, tags: {x: $3}}
""")
    assert file.rules[0].timer_unit == "s"
    assert file.rules[0].described == MetricDescription("Of p.", "seconds", (1.0, 2.0))
    assert [(note.line, note.text.partition("; ")[0]) for note in file.notes] == [
        (
            6,
            (
                "profile n: mapping 2 (p.*.*): x: '$3' has a reference that the match does not capture: it is"
                " empty"
            ),
        ),
        (6, "profile n: mapping 2 (p.*.*): it names seconds, but values sent as `ms` stay milliseconds"),
    ]


HEAD = "dogstatsd_mapper_profiles:\n"
ONE = HEAD + "- name: n\n  prefix: p\n  mappings:\n  - "
BAD = {
    HEAD + "  x: y": "2: dogstatsd_mapper_profiles: expected a list",
    HEAD + "- prefix: p": "2: profile 1: name is missing",
    HEAD + "- name: n": "2: profile n: prefix is missing: expected a text, or `*` for all names",
    HEAD + "- {name: n, prefix: p, mapping: []}": (
        "profile 1: unknown key 'mapping': expected one of mappings, name,"
    ),
    HEAD + "- {name: n, prefix: p, mappings: {}}": "profile n: mappings: expected a list",
    ONE + "{name: x}": "5: profile n: mapping 1: match is missing",
    ONE + "{match: x}": "5: profile n: mapping 1 (x): name is missing",
    ONE + "{match: x, name: y, match_type: glob}": "match_type: 'glob': expected one of wildcard, regex",
    ONE + "{match: 'a.[]', name: y}": "match: expected letters, digits, `-`, `_`, `.` and `*`",
    ONE + "{match: 'a.**', name: y}": "match: `**`: expected a single `*`",
    ONE + "{match: 'a(', name: y, match_type: regex}": "match: not a regular expression",
    ONE + "{match: a, name: y, tags: [x]}": "tags: expected a table of keys and values",
    ONE + "{match: a, name: y, labels: {}}": "unknown key 'labels'",
    HEAD + "mappings: []": "1: the file has both `mappings` and `dogstatsd_mapper_profiles`",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_said_with_its_place(text: str) -> None:
    with pytest.raises(MappingError) as error:
        parse(text)
    assert BAD[text] in str(error.value)


def test_a_file_without_profiles_maps_nothing() -> None:
    assert parse(HEAD).rules == ()
    assert parse(HEAD + "- {name: n, prefix: p}").rules == ()


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.mapping.datadog_profiles.MAX_RULES", 1)
    with pytest.raises(MappingError, match="6: dogstatsd_mapper_profiles: more than 1 mappings"):
        parse(ONE + "{match: a, name: b}\n  - {match: b, name: c}")
