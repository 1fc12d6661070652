"""Nodes of a mapping file's YAML, read as the values they should be; errors name the place.

Owns the reading that both formats share (agent/mapping/config_file.py, agent/mapping/datadog_profiles.py):
tables, lists, texts, numbers, and what a mapping says about a metric. Unknown keys are refused, duplicate
ones too.

Needs PyYAML, so it is imported only where a mapping is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, cast, get_args

import msgspec
import yaml

from agent.config.load import ConfigError
from agent.mapping.rule import Rule
from agent.mapping.template import Template, unknown_references
from agent.protocol.line import GaugeDeltas, Kind, TimerUnit
from agent.wire.metadata import MAX_HELP, MAX_UNIT, MetricDescription, ladder_problem

MAX_FILE_BYTES: Final = 4 << 20
MAX_RULES: Final = 10_000
#: Tables and lists inside each other; a mapping file has six.
MAX_DEPTH: Final = 64
MAX_TEXT: Final = 1_000  # characters of a match, a name or a label


class MappingError(ConfigError):
    """A mapping file that cannot be used; the text names file, line, entry and key."""


class YamlLoader(yaml.SafeLoader):
    """PyYAML's loader with a bound on nesting: its time grows with the square of the depth."""

    def check_event(self, *choices: Any) -> bool:
        """Raise a YAML error at brackets or indents that are nested too deep."""
        if self.flow_level + len(self.indents) > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deep", problem_mark=self.get_mark())
        return super().check_event(*choices)


class MappingNote(msgspec.Struct, frozen=True):
    """Something accepted that a person should know."""

    line: int
    text: str


class YamlReader:
    """Reads nodes as what they should be; fails with their line and names, and gathers notes.

    `timer_unit` is what holds where the file says nothing.
    """

    def __init__(self, timer_unit: TimerUnit) -> None:
        self.notes: list[MappingNote] = []
        self.timer_unit = timer_unit

    def fail(self, node: yaml.Node, text: str) -> NoReturn:
        """Raises MappingError with the line of a node."""
        raise MappingError(f"{node.start_mark.line + 1}: {text}")

    def note(self, node: yaml.Node, text: str) -> None:
        """Notes something at the line of a node."""
        self.notes.append(MappingNote(node.start_mark.line + 1, text))

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
        """A list; nothing is an empty one."""
        if node is None or _is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, f"{where}: a list is wanted")
        return list[Any](node.value)

    def text(self, table: Mapping[str, yaml.Node], key: str, where: str, max_length: int = MAX_TEXT) -> str:
        """The text as written, also of numbers (`code: 200`); empty if the key is missing."""
        node = table.get(key)
        if node is None or _is_null(node):
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self.fail(node, f"{where}: {key}: a text is wanted")
        if len(node.value) > max_length:
            self.fail(node, f"{where}: {key}: longer than {max_length} characters")
        return str(node.value)

    def label(self, node: yaml.Node, key: str, where: str) -> str:
        """The name of a label."""
        if not key or len(key) > MAX_TEXT:
            self.fail(node, f"{where}: a label's name must have 1 to {MAX_TEXT} characters")
        return key

    def choice(self, table: Mapping[str, yaml.Node], key: str, where: str, values: tuple[str, ...]) -> str:
        """One of some texts; empty if the key is missing."""
        text = self.text(table, key, where)
        if text and text not in values:
            self.fail(table[key], f"{where}: {key}: {text!r} is none of {', '.join(values)}")
        return text

    def gauge_deltas(self, table: Mapping[str, yaml.Node], where: str) -> GaugeDeltas | None:
        """The key `gauge_deltas`; None if it is missing."""
        text = self.choice(table, "gauge_deltas", where, get_args(GaugeDeltas))
        return cast("GaugeDeltas", text) if text else None

    def boolean(self, table: Mapping[str, yaml.Node], key: str, where: str) -> bool:
        """True or false; false if the key is missing."""
        text = self.text(table, key, where)
        if text.lower() not in ("", "true", "false", "yes", "no", "on", "off"):
            self.fail(table[key], f"{where}: {key}: {text!r} is neither true nor false")
        return text.lower() in ("true", "yes", "on")

    def number(self, table: Mapping[str, yaml.Node], key: str, where: str, default: float) -> float:
        """A finite number; `default` if the key is missing."""
        text = self.text(table, key, where)
        value = _float(text) if text else default
        if value is None or not abs(value) <= 1e300:
            self.fail(table[key], f"{where}: {key}: {text!r} is no number")
        return value

    def template(
        self, text: str, node: yaml.Node, where: str, compile_template: Callable[[str], Template]
    ) -> Template:
        """The template in a text; references to nothing are noted."""
        compiled = compile_template(text)
        if unknown_references(text, compiled):
            self.note(node, f"{where}: {text!r} refers to what the match does not capture; it is empty there")
        return compiled

    def labels(
        self,
        table: Mapping[str, yaml.Node],
        label_where: str,
        where: str,
        compile_template: Callable[[str], Template],
    ) -> tuple[tuple[str, Template], ...]:
        """Labels with the templates of their values."""
        return tuple(
            (
                self.label(node, key, label_where),
                self.template(self.text(table, key, where), node, f"{where}: {key}", compile_template),
            )
            for key, node in table.items()
        )

    def timers(self, table: Mapping[str, yaml.Node], where: str) -> TimerUnit | None:
        """The key `timer_unit`; None if it is missing."""
        text = self.choice(table, "timer_unit", where, get_args(TimerUnit))
        return cast("TimerUnit", text) if text else None

    def described(self, table: Mapping[str, yaml.Node], where: str) -> MetricDescription:
        """The keys `help`, `unit` and `buckets` (or those of `histogram_options`)."""
        help_ = self.text(table, "help", where, max_length=MAX_FILE_BYTES)
        if len(help_) > MAX_HELP:
            self.note(table["help"], f"{where}: help: cut to {MAX_HELP} characters")
        options = self.table(table.get("histogram_options"), f"{where}: histogram_options", None)
        return MetricDescription(
            help=help_[:MAX_HELP],
            unit=self.text(table, "unit", where, MAX_UNIT),
            buckets=self.ladder(options, where) or self.ladder(table, where),
        )

    def ladder(self, table: Mapping[str, yaml.Node], where: str) -> tuple[float, ...]:
        """The key `buckets`: boundaries. A last one of +Inf is accepted, and always there.

        What statsd_exporter takes and no histogram could have is noted and has no effect.
        """
        nodes = self.list(table.get("buckets"), f"{where}: buckets")
        for node in nodes:
            if not isinstance(node, yaml.ScalarNode) or _float(node.value) is None:
                self.fail(node, f"{where}: buckets: a list of numbers is wanted")
        bounds = tuple(_float(node.value) or 0.0 for node in nodes)
        bounds = bounds[:-1] if bounds[-1:] == (float("inf"),) else bounds
        if wrong := ladder_problem(bounds):
            self.note(table["buckets"], f"{where}: buckets have no effect: {wrong}")
            return ()
        return bounds

    def check_seconds(self, rule: Rule, node: yaml.Node, where: str, file_unit: TimerUnit | None) -> None:
        """Notes a rule that names seconds where milliseconds stay what they are."""
        unit = rule.timer_unit or file_unit or self.timer_unit
        timers = Kind.DISTRIBUTION in rule.kinds and rule.kind is not Kind.SET and not rule.drop
        if timers and unit == "ms" and rule.timer_unit is None and rule.scale == 1.0 and rule.says_seconds:
            self.note(
                node,
                f"{where}: it names seconds, but values sent as `ms` stay milliseconds;"
                " timer_unit: s divides them by 1000, timer_unit: ms says that this is meant",
            )


def _float(text: str) -> float | None:
    """The number in a text; None for no number. YAML writes infinity as `.inf`."""
    try:
        value = float(text.replace(".inf", "inf").replace(".Inf", "inf"))
    except ValueError:
        return None
    return None if value != value else value


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
