"""The mapping file: refused parts, with line and names, and those accepted without effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.mapping import config_file
from agent.mapping.config_file import MappingError, parse, read
from agent.wire.metadata import MetricDescription

BAD = {
    "- a": "1: the file: expected a table of keys and values",
    "mapping: []": "1: the file: unknown key 'mapping': expected one of defaults, dogstatsd_mapper_profiles,",
    "mappings: {}": "1: mappings: expected a list",
    "mappings: [x]": "1: mapping 1: expected a table of keys and values",
    "defaults: 3": "1: defaults: expected a table of keys and values",
    "defaults: {help: x}": "1: defaults: unknown key 'help'",
    "defaults: {match_type: fnmatch}": "1: defaults: match_type: 'fnmatch': expected one of glob, regex",
    "defaults: {glob_disable_ordering: 2}": "glob_disable_ordering: '2': expected true or false",
    "defaults:\n  ttl: soon\n": "2: defaults: ttl: 'soon': expected a duration of 0 or more",
    "defaults:\n  ttl: -5s\n": "2: defaults: ttl: '-5s': expected a duration of 0 or more",
    'mappings: [{match: a, name: b, help: "x\\ud800"}]': "1: mapping 1 (a): help: half a character",
    "mappings:\n- match: a.b\n  names: x\n": "3: mapping 1: unknown key 'names'",
    "mappings:\n- match: a.b\n  match: c.d\n": "3: mapping 1: 'match' is repeated",
    "mappings:\n- name: x": "2: mapping 1: match is missing",
    "mappings:\n- match: ''\n  name: x": "2: mapping 1: match is missing",
    "mappings:\n- match: a.b\n": "2: mapping 1 (a.b): name is missing",
    "mappings:\n- {match: a.b, name: }\n": "2: mapping 1 (a.b): name is missing",
    "mappings:\n- {match: a.b, name: x}\n- {match: a.b*, name: x}": (
        "3: mapping 2 (a.b*): match: `*` within a part"
    ),
    "mappings:\n- {match: a..b, name: x}": "2: mapping 1 (a..b): match: empty part between dots",
    "mappings:\n- {match: .a, name: x}": "2: mapping 1 (.a): match: empty part between dots",
    "mappings:\n- {match: '(', match_type: regex, name: x}": "mapping 1 ((): match: not a regular expression",
    "mappings:\n- {match: '[[:nope:]]', match_type: regex, name: x}": "invalid character class range",
    "mappings:\n- {match: '(?=a)', match_type: regex, name: x}": "invalid perl operator: (?=",
    "mappings:\n- {match: a.b, name: x, match_type: exact}": (
        "match_type: 'exact': expected one of glob, regex"
    ),
    "mappings:\n- {match: a.b, name: x, action: keep}": "action: 'keep': expected one of map, drop",
    "mappings:\n- {match: a.b, name: x, match_metric_type: sum}": (
        "'sum': expected one of counter, gauge, observer"
    ),
    "mappings:\n- {match: a.b, name: x, metric_type: timer}": (
        "'timer': expected one of counter, gauge, distrib"
    ),
    "mappings:\n- {match: a.b, name: x, observer_type: native}": (
        "'native': expected one of histogram, summary"
    ),
    "mappings:\n- {match: a.b, name: x, gauge_deltas: minus}": (
        "'minus': expected one of auto, signed, plus, never"
    ),
    "defaults: {gauge_deltas: minus}": "1: defaults: gauge_deltas: 'minus': expected one of auto, signed",
    "mappings:\n- {match: a.b, name: x, scale: much}": "scale: 'much': expected a finite number",
    "mappings:\n- {match: a.b, name: x, scale: .inf}": "scale: '.inf': expected a finite number",
    "mappings:\n- {match: a.b, name: x, scale: nan}": "scale: 'nan': expected a finite number",
    "mappings:\n- {match: a.b, name: x, scale: 1e301}": "scale: '1e301': expected a finite number",
    "mappings:\n- {match: a.b, name: x, timer_unit: h}": (
        "mapping 1 (a.b): timer_unit: 'h': expected one of ms, s"
    ),
    "defaults: {timer_unit: m}": "1: defaults: timer_unit: 'm': expected one of ms, s",
    "mappings:\n- {match: a.b, name: x, buckets: 5}": "mapping 1 (a.b): buckets: expected a list",
    "mappings:\n- {match: a.b, name: x, buckets: [a]}": "buckets: expected a list of numbers",
    "mappings:\n- {match: a.b, name: x, buckets: [nan]}": "buckets: expected a list of numbers",
    f"mappings:\n- {{match: a.b, name: x, unit: {'u' * 65}}}": "unit: too long: at most 64 characters",
    "mappings:\n- {match: a.b, name: x, honor_labels: maybe}": (
        "honor_labels: 'maybe': expected true or false"
    ),
    "mappings:\n- {match: a.b, name: [x]}": "mapping 1 (a.b): name: expected a text",
    "mappings:\n- {match: a.b, name: x, labels: [y]}": (
        "mapping 1 (a.b): labels: expected a table of keys and values"
    ),
    "mappings:\n- {match: a.b, name: x, labels: {y: {}}}": "y: expected a text",
    "mappings:\n- {match: a.b, name: x, labels: {'': y}}": "label name of 0 characters: expected 1 to 1000",
    "mappings:\n- {match: a.b, name: x, labels: {a: b, a: c}}": "mapping 1 (a.b): labels: 'a' is repeated",
    f"mappings:\n- {{match: a.b, name: {'x' * 1001}}}": "name: too long: at most 1000 characters",
    "mappings:\n- match: *.b\n  name: x": "2: not YAML: ",
    "mappings:\n  - [": "not YAML",
    "a: &a [*a]\n\tb": "not YAML",
    "\x00": "not YAML",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_said_with_its_place(text: str) -> None:
    with pytest.raises(MappingError) as error:
        parse(text)
    assert BAD[text] in str(error.value)


def test_unknown_keys_name_the_known_ones() -> None:
    with pytest.raises(
        MappingError, match=r"expected one of action, buckets, gauge_deltas, help, .*, ttl, unit"
    ):
        parse("mappings: [{matches: a.b}]")


NO_EFFECT = """
defaults:
  observer_type: summary
  buckets: [1, 2]
mappings:
- match: a.*
  name: a
  help: Of a.
  ttl: 0
  timer_type: histogram
  histogram_options: {buckets: [0.1, 1]}
  summary_options: {quantiles: [{quantile: 0.9, error: 0.01}], max_age: 1m}
  quantiles: []
"""


def test_what_has_no_effect_is_noted() -> None:
    notes = parse(NO_EFFECT).notes
    assert [(note.line, note.text.partition(" has no effect")[0]) for note in notes] == [
        (3, "defaults: observer_type"),
        (9, "mapping 1 (a.*): ttl"),
        (10, "mapping 1 (a.*): timer_type"),
        (12, "mapping 1 (a.*): summary_options"),
        (13, "mapping 1 (a.*): quantiles"),
    ]


def test_what_a_file_says_of_a_metric() -> None:
    file = parse(NO_EFFECT)
    assert file.buckets == (1.0, 2.0)
    assert file.rules[0].described == MetricDescription("Of a.", "", (0.1, 1.0))
    (rule,) = parse("""mappings:
- {match: a.b, name: a, help: 5, unit: bytes, buckets: [1, 2.5, 1e3, .inf]}
""").rules
    assert rule.described == MetricDescription("5", "bytes", (1.0, 2.5, 1000.0))


def test_what_statsd_exporter_takes_and_no_histogram_has_is_noted() -> None:
    text = f"""mappings:
- {{match: a.a, name: a, buckets: [2, 1]}}
- {{match: a.b, name: b, buckets: [.inf, 1]}}
- {{match: a.c, name: c, histogram_options: {{buckets: {list(range(201))}}}}}
- {{match: a.d, name: d, help: {"h" * 1001}}}
"""
    file = parse(text)
    assert [rule.described.buckets for rule in file.rules] == [()] * 4
    assert file.rules[3].described.help == "h" * 1000
    assert [note.text for note in file.notes] == [
        "mapping 1 (a.a): buckets have no effect: boundaries do not ascend",
        "mapping 2 (a.b): buckets have no effect: a boundary is not finite",
        "mapping 3 (a.c): buckets have no effect: too many boundaries: at most 200 are accepted",
        "mapping 4 (a.d): help: cut to 1000 characters",
    ]


SECONDS = """mappings:
- {match: a.*, name: a_seconds}
- {match: b.*, name: $1.seconds, match_metric_type: timer}
- {match: c.*, name: c, unit: s}
- {match: said.a, name: a_seconds, timer_unit: ms}
- {match: said.b, name: a_seconds, timer_unit: s}
- {match: said.c, name: a_seconds, scale: 0.001}
- {match: other.a, name: a_seconds, match_metric_type: gauge}
- {match: other.b, name: a_seconds, metric_type: set}
- {match: other.c, name: a_seconds_total}
- {match: other.d.*, name: x$1, labels: {x: seconds}}
- {match: other.seconds, action: drop}
"""


def test_a_file_that_names_seconds_and_keeps_milliseconds_is_noted() -> None:
    notes = parse(SECONDS).notes
    assert [note.line for note in notes] == [2, 3, 4]
    assert "mapping 1 (a.*): it names seconds, but values sent as `ms` stay milliseconds" in notes[0].text
    assert not parse("defaults: {timer_unit: s}\n" + SECONDS).notes
    assert not parse(SECONDS, "s").notes
    assert [note.line for note in parse("defaults: {timer_unit: ms}\n" + SECONDS, "s").notes] == [3, 4, 5]


def test_likely_mistakes_are_noted() -> None:
    text = """mappings:
- {match: a.*.c, name: "${1}_x"}
- {match: a.b.c, name: one}
- {match: a.b.c, name: two, match_metric_type: gauge}
- {match: b.*, name: "$1_total", labels: {x: "$2"}}
- {match: (a+)+, match_type: regex, name: x, labels: {y: "${nobody}", z: "$$1"}}
"""
    assert [note.text for note in parse(text).notes] == [
        "mapping 2 (a.b.c): never applies: mapping 1 (a.*.c) takes precedence",
        "mapping 3 (a.b.c): never applies: mapping 2 (a.b.c) takes precedence",
        "mapping 4 (b.*): name: '$1_total' has a reference that the match does not capture: it is empty",
        "mapping 4 (b.*): x: '$2' has a reference that the match does not capture: it is empty",
        "mapping 5 ((a+)+): y: '${nobody}' has a reference that the match does not capture: it is empty",
    ]
    assert not parse("defaults: {glob_disable_ordering: yes}\n" + text.splitlines()[0]).notes


def test_what_an_earlier_rule_takes_of_one_type_only_is_not_lost() -> None:
    text = "mappings: [{match: a.*, name: x, match_metric_type: gauge}, {match: a.b, name: y}]"
    assert not parse(text).notes


def test_bounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rule = "- {match: a.b, action: drop}\n"
    assert len(parse("mappings:\n" + rule * 3).rules) == 3
    monkeypatch.setattr(config_file, "MAX_RULES", 2)
    with pytest.raises(MappingError, match="4: mappings: too many entries: at most 2"):
        parse("mappings:\n" + rule * 3)
    file = tmp_path / "mapping.yml"
    file.write_text("#" * 100)
    assert not read(str(file)).rules
    monkeypatch.setattr(config_file, "MAX_FILE_BYTES", 99)
    with pytest.raises(MappingError, match="too large: at most 99 bytes"):
        read(str(file))


def test_errors_of_a_file_name_it(tmp_path: Path) -> None:
    file = tmp_path / "mapping.yml"
    with pytest.raises(MappingError, match=r"mapping\.yml: No such file"):
        read(str(file))
    file.write_text("mappings:\n- {match: a.b}\n")
    with pytest.raises(MappingError, match=r"mapping\.yml:2: mapping 1 \(a\.b\): name is missing"):
        read(str(file))
    file.write_bytes(b"\xff")
    with pytest.raises(MappingError, match=r"mapping\.yml: .*utf-8"):
        read(str(file))
