"""The mapping file: YAML of statsd_exporter's kind in, rules out, or what is wrong and where.

Owns keys, values and bounds of the file. Unknown keys are refused, duplicate ones too. Keys that say how
statsd_exporter shows or forgets a series (`ttl`, `help`, `observer_type`, `buckets`, `quantiles`, ...) are
accepted and checked, but have no effect here: distributions need no buckets. They become notes for people.

Accepted beyond statsd_exporter: any name that is not empty, no name where `action: drop`, any label name,
`match_metric_type: set`, `metric_type` and `gauge_deltas`. Regular expressions are RE2's
(agent/expressions.py).

Needs PyYAML, so it is imported only where a mapping is set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, cast, get_args

import msgspec
import yaml

from agent.config import ConfigError
from agent.glob import Globs, problem
from agent.line import GaugeDeltas, Kind, Limits
from agent.mapping import Expression, ExpressionError, Mapper, Rule
from agent.template import Template, for_glob, for_regex, unknown_references

MAX_FILE_BYTES: Final = 4 << 20
MAX_RULES: Final = 10_000
MAX_TEXT: Final = 1_000  # characters of a match, a name or a label

_TYPES: Final[Mapping[str, frozenset[Kind]]] = {
    "counter": frozenset({Kind.COUNTER}),
    "gauge": frozenset({Kind.GAUGE}),
    "observer": frozenset({Kind.DISTRIBUTION}),
    "timer": frozenset({Kind.DISTRIBUTION}),
    "set": frozenset({Kind.SET}),
}
_KINDS: Final = {kind.value: kind for kind in Kind}
_NO_EFFECT: Final = {
    "ttl": "series end with their data",
    "help": "metadata has the type alone",
    "observer_type": "distributions are histograms and have all quantiles",
    "timer_type": "distributions are histograms and have all quantiles",
    "buckets": "distributions need no buckets",
    "histogram_options": "distributions need no buckets",
    "quantiles": "distributions have all quantiles",
    "summary_options": "distributions have all quantiles",
}
_DEFAULTS: Final = frozenset({"match_type", "glob_disable_ordering", "gauge_deltas", *_NO_EFFECT} - {"help"})
_ENTRY: Final = frozenset({
    "match", "match_type", "match_metric_type", "name", "labels", "honor_labels", "action", "scale",
    "metric_type", "gauge_deltas", *_NO_EFFECT,
})  # fmt: skip
_DURATION = re.compile(r"0|[-+]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+")


class MappingError(ConfigError):
    """A mapping file that cannot be used; the text names file, line, entry and key."""


class Note(msgspec.Struct, frozen=True):
    """Something accepted that a person should know."""

    line: int
    text: str


class MappingFile(msgspec.Struct, frozen=True):
    """A mapping file that was read."""

    rules: tuple[Rule, ...]
    ordered: bool  # False: glob_disable_ordering
    notes: tuple[Note, ...]

    def mapper(self, limits: Limits) -> Mapper:
        """A mapper of these rules. Raises MappingError if their regular expressions are too large."""
        try:
            return Mapper(self.rules, limits, ordered=self.ordered)
        except ExpressionError as e:
            raise MappingError(f"the regular expressions of the mapping file: {e}") from None


def read(path: str) -> MappingFile:
    """The mapping file at `path`. Raises MappingError, also when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as e:
        raise MappingError(f"{path}: {e.strerror if isinstance(e, OSError) else e}") from None
    if len(data) > MAX_FILE_BYTES:
        raise MappingError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    try:
        return parse(text)
    except MappingError as e:
        raise MappingError(f"{path}:{e}") from None


def parse(text: str) -> MappingFile:
    """The mapping file in `text`. Raises MappingError (`line: what`)."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark
        raise MappingError(f"{mark.line + 1 if mark else 1}: not YAML: {e.problem}") from None
    except (yaml.YAMLError, RecursionError) as e:
        raise MappingError(f"1: not YAML: {e}") from None
    reader = _Reader()
    if root is None:
        return MappingFile((), ordered=True, notes=())
    top = reader.table(root, "the file", frozenset({"defaults", "mappings"}))
    defaults = reader.table(top.get("defaults"), "defaults", _DEFAULTS)
    match_type = reader.choice(defaults, "match_type", "defaults", ("glob", "regex")) or "glob"
    ordered = not reader.boolean(defaults, "glob_disable_ordering", "defaults")
    gauge_deltas = reader.gauge_deltas(defaults, "defaults")
    reader.no_effect(defaults, "defaults")
    entries = reader.list(top.get("mappings"), "mappings")
    if len(entries) > MAX_RULES:
        reader.fail(entries[MAX_RULES], f"mappings: more than {MAX_RULES} entries")
    rules = tuple(
        _rule(reader, node, number, match_type, gauge_deltas) for number, node in enumerate(entries, 1)
    )
    if ordered:
        reader.notes += _never_reached(rules)
    return MappingFile(rules, ordered, tuple(sorted(reader.notes, key=lambda note: note.line)))


def _rule(
    reader: _Reader,
    node: yaml.Node,
    number: int,
    default_match_type: str,
    default_gauge_deltas: GaugeDeltas | None,
) -> Rule:
    entry = reader.table(node, f"mapping {number}", _ENTRY)
    where = f"mapping {number}"
    match = reader.text(entry, "match", where)
    if not match:
        reader.fail(node, f"{where}: match is missing")
    where = f"mapping {number} ({match})"
    drop = reader.choice(entry, "action", where, ("map", "drop")) == "drop"
    match_type = reader.choice(entry, "match_type", where, ("glob", "regex")) or default_match_type
    matched = reader.choice(entry, "match_metric_type", where, tuple(_TYPES))
    made = reader.choice(entry, "metric_type", where, tuple(_KINDS))
    name = reader.text(entry, "name", where)
    if not name and not drop:
        reader.fail(entry.get("name", node), f"{where}: name is missing")
    expression, compile_template = _matcher(reader, entry["match"], where, match, match_type)
    labels = reader.table(entry.get("labels"), f"{where}: labels", None)

    def template(text: str, at: yaml.Node, key: str) -> Template:
        compiled = compile_template(text)
        if unknown_references(text, compiled):
            reader.note(
                at, f"{where}: {key}: {text!r} refers to what the match does not capture; it is empty there"
            )
        return compiled

    reader.no_effect(entry, where)
    return Rule(
        number=number,
        line=node.start_mark.line + 1,
        match=match,
        expression=expression,
        kinds=_TYPES[matched] if matched else frozenset(Kind),
        drop=drop,
        name=template(name, entry["name"], "name") if name else (),
        labels=tuple(
            (reader.label(at, key, where), template(reader.text(labels, key, where), at, key))
            for key, at in labels.items()
        ),
        honor_labels=reader.boolean(entry, "honor_labels", where),
        kind=_KINDS[made] if made else None,
        scale=reader.number(entry, "scale", where, 1.0),
        gauge_deltas=reader.gauge_deltas(entry, where) or default_gauge_deltas,
    )


def _matcher(
    reader: _Reader, node: yaml.Node, where: str, match: str, match_type: str
) -> tuple[Expression | None, Callable[[str], Template]]:
    """The expression (None for a glob), and what reads its templates."""
    if match_type == "glob":
        if wrong := problem(match):
            reader.fail(node, f"{where}: match: {wrong}")
        stars = match.split(".").count("*")
        return None, lambda text: for_glob(text, stars)
    from agent import expressions  # not where all rules are globs: it is memory, and time at the start

    try:
        expression = expressions.parse(match)
    except ExpressionError as e:
        reader.fail(node, f"{where}: match: not a regular expression: {e}")
    return expression, lambda text: for_regex(text, expression.groups, expression.names)


def _never_reached(rules: tuple[Rule, ...]) -> list[Note]:
    """Globs that an earlier one always goes before."""
    globs: Globs[Rule] = Globs()
    notes = []
    for rule in rules:
        if rule.expression is None:
            covering = (r for r, _ in globs.find(rule.match) if r.kinds >= rule.kinds)
            if earlier := next(covering, None):
                before = f"mapping {earlier.number} ({earlier.match}) goes before it"
                notes.append(Note(rule.line, f"mapping {rule.number} ({rule.match}): never holds: {before}"))
            globs.add(rule.match, rule)
    return notes


class _Reader:
    """Reads nodes as what they should be; fails with their line and names, and gathers notes."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def fail(self, node: yaml.Node, text: str) -> NoReturn:
        raise MappingError(f"{node.start_mark.line + 1}: {text}")

    def note(self, node: yaml.Node, text: str) -> None:
        self.notes.append(Note(node.start_mark.line + 1, text))

    def no_effect(self, table: Mapping[str, yaml.Node], where: str) -> None:
        """Checks and notes the keys that mean nothing to us."""
        for key in sorted(table.keys() & _NO_EFFECT.keys()):
            if key in ("observer_type", "timer_type"):
                self.choice(table, key, where, ("histogram", "summary"))
            elif key == "ttl" and not _DURATION.fullmatch(self.text(table, key, where)):
                self.fail(table[key], f"{where}: ttl: a duration is wanted (1m20s)")
            self.note(table[key], f"{where}: {key} has no effect: {_NO_EFFECT[key]}")

    def table(self, node: yaml.Node | None, where: str, keys: frozenset[str] | None) -> dict[str, yaml.Node]:
        """A table; `keys` are those it may have, None: any. Nothing is an empty one."""
        if node is None or _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{where}: a table of keys and values is wanted")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if keys is not None and name not in keys:
                self.fail(key, f"{where}: unknown key {name!r} (known: {', '.join(sorted(keys))})")
            if name in found:
                self.fail(key, f"{where}: {name!r} comes twice")
            found[name] = value
        return found

    def list(self, node: yaml.Node | None, where: str) -> list[yaml.Node]:
        if node is None or _is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, f"{where}: a list is wanted")
        return list[Any](node.value)

    def text(self, table: Mapping[str, yaml.Node], key: str, where: str) -> str:
        """The text as written, also of numbers (`code: 200`); empty if the key is missing."""
        node = table.get(key)
        if node is None or _is_null(node):
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self.fail(node, f"{where}: {key}: a text is wanted")
        if len(node.value) > MAX_TEXT:
            self.fail(node, f"{where}: {key}: longer than {MAX_TEXT} characters")
        return str(node.value)

    def label(self, node: yaml.Node, key: str, where: str) -> str:
        if not key or len(key) > MAX_TEXT:
            self.fail(node, f"{where}: labels: a label's name must have 1 to {MAX_TEXT} characters")
        return key

    def choice(self, table: Mapping[str, yaml.Node], key: str, where: str, values: tuple[str, ...]) -> str:
        text = self.text(table, key, where)
        if text and text not in values:
            self.fail(table[key], f"{where}: {key}: {text!r} is none of {', '.join(values)}")
        return text

    def gauge_deltas(self, table: Mapping[str, yaml.Node], where: str) -> GaugeDeltas | None:
        text = self.choice(table, "gauge_deltas", where, get_args(GaugeDeltas))
        return cast("GaugeDeltas", text) if text else None

    def boolean(self, table: Mapping[str, yaml.Node], key: str, where: str) -> bool:
        text = self.text(table, key, where)
        if text.lower() not in ("", "true", "false", "yes", "no", "on", "off"):
            self.fail(table[key], f"{where}: {key}: {text!r} is neither true nor false")
        return text.lower() in ("true", "yes", "on")

    def number(self, table: Mapping[str, yaml.Node], key: str, where: str, default: float) -> float:
        text = self.text(table, key, where)
        try:
            value = float(text) if text else default
        except ValueError:
            value = float("nan")
        if not abs(value) <= 1e300:
            self.fail(table[key], f"{where}: {key}: {text!r} is no number")
        return value


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
