"""Reads the mapping file: YAML like statsd_exporter's in, rules out, or the problem and its place.

Owns keys, values and bounds of the file. A file with `dogstatsd_mapper_profiles` is Datadog's, and read by
agent/mapping/datadog_profiles.py. Unknown and duplicate keys are refused (agent/mapping/yaml_nodes.py). Keys
that control how statsd_exporter shows a series (`observer_type`, `quantiles`, ...) are accepted and checked,
but have no effect here. They become notes for the user. `ttl` counts for the exposition alone.

Accepted beyond statsd_exporter: any name that is not empty, no name where `action: drop`, any label name,
`match_metric_type: set`, `metric_type`, `timer_unit`, `unit` and `gauge_deltas`. Regular expressions are
RE2's (agent/mapping/regexes.py).

Needs PyYAML, so it is imported only where a mapping is set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import yaml

from agent.mapping import datadog_profiles
from agent.mapping.glob import Globs, problem
from agent.mapping.mapper import Mapper
from agent.mapping.rule import Regex, RegexError, Rule
from agent.mapping.template import Template, for_glob, for_regex
from agent.mapping.yaml_nodes import (
    MAX_FILE_BYTES,
    MAX_RULES,
    MappingError,
    MappingNote,
    YamlLoader,
    YamlReader,
)
from agent.protocol.line import GaugeDeltas, Kind, Limits, TimerUnit
from agent.wire.metadata import MetricDescription

__all__ = ["MappingError", "MappingFile", "MappingNote", "parse", "read"]

_TYPES: Final[Mapping[str, frozenset[Kind]]] = {
    "counter": frozenset({Kind.COUNTER}),
    "gauge": frozenset({Kind.GAUGE}),
    "observer": frozenset({Kind.DISTRIBUTION}),
    "timer": frozenset({Kind.DISTRIBUTION}),
    "set": frozenset({Kind.SET}),
}
_KINDS: Final = {kind.value: kind for kind in Kind}
_NO_EFFECT: Final = {
    "ttl": "series end with their data, except in agent.exposition",
    "observer_type": "distributions are histograms and have all quantiles",
    "timer_type": "distributions are histograms and have all quantiles",
    "quantiles": "distributions have all quantiles",
    "summary_options": "distributions have all quantiles",
}
_DEFAULTS: Final = frozenset({
    "match_type", "glob_disable_ordering", "gauge_deltas", "timer_unit", "buckets", "histogram_options",
    *_NO_EFFECT,
})  # fmt: skip
_ENTRY: Final = frozenset({
    "match", "match_type", "match_metric_type", "name", "labels", "honor_labels", "action", "scale",
    "metric_type", "gauge_deltas", "timer_unit", "help", "unit", "buckets", "histogram_options", *_NO_EFFECT,
})  # fmt: skip
_TOP: Final = frozenset({"defaults", "mappings", datadog_profiles.KEY})
_DURATION: Final = re.compile(r"0|\+?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+")
_PART: Final = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final[Mapping[str, float]] = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0,
}  # fmt: skip


class MappingFile(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a mapping file."""

    rules: tuple[Rule, ...] = ()
    ordered: bool = True  # False: glob_disable_ordering
    timer_unit: TimerUnit | None = None  # None: the setting's
    buckets: tuple[float, ...] = ()  # also of distributions without a rule
    ttl_s: float | None = None  # of exposed series, 0: for ever; None: the setting's
    notes: tuple[MappingNote, ...] = ()

    def mapper(self, limits: Limits) -> Mapper:
        """Create a mapper of these rules. Raises MappingError if their regular expressions are too large."""
        try:
            return Mapper(
                self.rules,
                limits,
                ordered=self.ordered,
                timer_unit=self.timer_unit,
                buckets=self.buckets,
                ttl_s=self.ttl_s,
            )
        except RegexError as e:
            raise MappingError(f"the regular expressions of the mapping file: {e}") from None


def read(path: str, timer_unit: TimerUnit = "ms") -> MappingFile:
    """Read the mapping file at `path`; `timer_unit` is the setting's, for the notes.

    Raises MappingError, also when it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as e:
        raise MappingError(f"{path}: {e.strerror if isinstance(e, OSError) else e}") from None
    if len(data) > MAX_FILE_BYTES:
        raise MappingError(f"{path}: too large: at most {MAX_FILE_BYTES} bytes are accepted")
    try:
        return parse(text, timer_unit)
    except MappingError as e:
        raise MappingError(f"{path}:{e}") from None


def parse(text: str, timer_unit: TimerUnit = "ms") -> MappingFile:
    """Parse a mapping file. Raises MappingError (`line: problem`)."""
    try:
        root = yaml.compose(text, Loader=YamlLoader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark
        raise MappingError(f"{mark.line + 1 if mark else 1}: not YAML: {e.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as e:  # ValueError: a number or character too large
        raise MappingError(f"1: not YAML: {e}") from None
    reader = YamlReader(timer_unit)
    if root is None:
        return MappingFile()
    if datadog_profiles.is_there(root):
        rules = datadog_profiles.rules(reader, root)
        return MappingFile(rules=rules, notes=_sorted(reader.notes))
    top = reader.table(root, "the file", _TOP)
    defaults = reader.table(top.get("defaults"), "defaults", _DEFAULTS)
    file = _Defaults(
        match_type=reader.choice(defaults, "match_type", "defaults", ("glob", "regex")) or "glob",
        ordered=not reader.boolean(defaults, "glob_disable_ordering", "defaults"),
        gauge_deltas=reader.gauge_deltas(defaults, "defaults"),
        timer_unit=reader.timers(defaults, "defaults"),
        described=reader.described(defaults, "defaults"),
    )
    _no_effect(reader, defaults, "defaults")
    entries = reader.list(top.get("mappings"), "mappings")
    if len(entries) > MAX_RULES:
        reader.fail(entries[MAX_RULES], f"mappings: too many entries: at most {MAX_RULES} are accepted")
    rules = tuple(_rule(reader, node, number, file) for number, node in enumerate(entries, 1))
    if file.ordered:
        reader.notes += _never_reached(rules)
    return MappingFile(
        rules=rules,
        ordered=file.ordered,
        timer_unit=file.timer_unit,
        buckets=file.described.buckets,
        ttl_s=_ttl_s(reader, defaults, "defaults"),
        notes=_sorted(reader.notes),
    )


class _Defaults(msgspec.Struct, frozen=True):
    """Values for entries that do not set their own."""

    match_type: str
    ordered: bool
    gauge_deltas: GaugeDeltas | None
    timer_unit: TimerUnit | None
    described: MetricDescription


def _sorted(notes: list[MappingNote]) -> tuple[MappingNote, ...]:
    return tuple(sorted(notes, key=lambda note: note.line))


def _rule(reader: YamlReader, node: yaml.Node, number: int, file: _Defaults) -> Rule:
    entry = reader.table(node, f"mapping {number}", _ENTRY)
    where = f"mapping {number}"
    match = reader.text(entry, "match", where)
    if not match:
        reader.fail(node, f"{where}: match is missing: expected a text")
    where = f"mapping {number} ({match})"
    drop = reader.choice(entry, "action", where, ("map", "drop")) == "drop"
    match_type = reader.choice(entry, "match_type", where, ("glob", "regex")) or file.match_type
    matched = reader.choice(entry, "match_metric_type", where, tuple(_TYPES))
    made = reader.choice(entry, "metric_type", where, tuple(_KINDS))
    name = reader.text(entry, "name", where)
    if not name and not drop:
        reader.fail(entry.get("name", node), f"{where}: name is missing: expected a text")
    expression, compile_template = _matcher(reader, entry["match"], where, match, match_type)
    labels = reader.table(entry.get("labels"), f"{where}: labels", None)
    _no_effect(reader, entry, where)
    rule = Rule(
        number=number,
        line=node.start_mark.line + 1,
        match=match,
        expression=expression,
        kinds=_TYPES[matched] if matched else frozenset(Kind),
        drop=drop,
        name=reader.template(name, entry["name"], f"{where}: name", compile_template) if name else (),
        labels=reader.labels(labels, f"{where}: labels", where, compile_template),
        honor_labels=reader.boolean(entry, "honor_labels", where),
        kind=_KINDS[made] if made else None,
        scale=reader.number(entry, "scale", where, 1.0),
        gauge_deltas=reader.gauge_deltas(entry, where) or file.gauge_deltas,
        timer_unit=reader.timers(entry, where),
        described=reader.described(entry, where),
        ttl_s=_ttl_s(reader, entry, where),
    )
    reader.check_seconds(rule, entry.get("name", node), where, file.timer_unit)
    return rule


def _no_effect(reader: YamlReader, table: Mapping[str, yaml.Node], where: str) -> None:
    """Check and note the keys that have no effect here."""
    for key in sorted(table.keys() & _NO_EFFECT.keys()):
        if key in ("observer_type", "timer_type"):
            reader.choice(table, key, where, ("histogram", "summary"))
        reader.note(table[key], f"{where}: {key} has no effect: {_NO_EFFECT[key]}")


def _ttl_s(reader: YamlReader, table: Mapping[str, yaml.Node], where: str) -> float | None:
    """Read the key `ttl` as seconds; None if it is missing."""
    if "ttl" not in table:
        return None
    text = reader.text(table, "ttl", where)
    if not _DURATION.fullmatch(text):
        reader.fail(table["ttl"], f"{where}: ttl: {text[:40]!r}: expected a duration of 0 or more (1m20s)")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def _matcher(
    reader: YamlReader, node: yaml.Node, where: str, match: str, match_type: str
) -> tuple[Regex | None, Callable[[str], Template]]:
    """Return the expression (None for a glob), and the parser of its templates."""
    if match_type == "glob":
        if wrong := problem(match):
            reader.fail(node, f"{where}: match: {wrong}")
        stars = match.split(".").count("*")
        return None, lambda text: for_glob(text, stars)
    from agent.mapping import regexes  # imported only if needed: RE2 costs memory and time

    try:
        expression = regexes.parse(match)
    except RegexError as e:
        reader.fail(node, f"{where}: match: not a regular expression: {e}")
    return expression, lambda text: for_regex(text, expression.groups, expression.names)


def _never_reached(rules: tuple[Rule, ...]) -> list[MappingNote]:
    """Find globs that an earlier one always precedes."""
    globs: Globs[Rule] = Globs()
    notes = []
    for rule in rules:
        if rule.expression is None:
            covering = (r for r, _ in globs.find(rule.match) if r.kinds >= rule.kinds)
            if earlier := next(covering, None):
                before = f"mapping {earlier.number} ({earlier.match}) takes precedence"
                notes.append(
                    MappingNote(rule.line, f"mapping {rule.number} ({rule.match}): never applies: {before}")
                )
            globs.add(rule.match, rule)
    return notes
