"""Reads nodes of a mapping file's YAML as the expected values; errors name the place.

Owns the reading that both formats share (agent/mapping/config_file.py, agent/mapping/datadog_profiles.py):
tables, lists, texts, numbers, and the metadata of a metric. Unknown and duplicate keys are refused.

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
#: Maximum nesting of tables and lists; a mapping file has six levels.
MAX_DEPTH: Final = 64
MAX_TEXT: Final = 1_000  # characters of a match, a name or a label


class MappingError(ConfigError):
    """A mapping file that cannot be used; the text names file, line, entry and key."""


class YamlLoader(yaml.SafeLoader):
    """PyYAML's loader with a limit on nesting: its time grows with the square of the depth."""

    def check_event(self, *choices: Any) -> bool:
        """Raise a YAML error at brackets or indents that are nested too deep."""
        if self.flow_level + len(self.indents) > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deep", problem_mark=self.get_mark())
        return super().check_event(*choices)


class MappingNote(msgspec.Struct, frozen=True):
    """A remark about something accepted that the user should know."""

    line: int
    text: str


class YamlReader:
    """Reads nodes as the expected values; fails with their line and names, and collects notes.

    `timer_unit` applies if the file has none.
    """

    def __init__(self, timer_unit: TimerUnit) -> None:
        self.notes: list[MappingNote] = []
        self.timer_unit = timer_unit

    def fail(self, node: yaml.Node, text: str) -> NoReturn:
        """Raise MappingError with the line of a node."""
        raise MappingError(f"{node.start_mark.line + 1}: {text}")

    def note(self, node: yaml.Node, text: str) -> None:
        """Add a note with the line of a node."""
        self.notes.append(MappingNote(node.start_mark.line + 1, text))

    def table(self, node: yaml.Node | None, where: str, keys: frozenset[str] | None) -> dict[str, yaml.Node]:
        """Read a table; `keys` are the allowed ones, None: any. A missing table is empty."""
        if node is None or _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{where}: expected a table of keys and values")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if keys is not None and name not in keys:
                self.fail(key, f"{where}: unknown key {name!r}: expected one of {', '.join(sorted(keys))}")
            if name in found:
                self.fail(key, f"{where}: {name!r} is repeated: expected each key once")
            found[name] = value
        return found

    def list(self, node: yaml.Node | None, where: str) -> list[yaml.Node]:
        """Read a list; a missing list is empty."""
        if node is None or _is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, f"{where}: expected a list")
        return list[Any](node.value)

    def text(self, table: Mapping[str, yaml.Node], key: str, where: str, max_length: int = MAX_TEXT) -> str:
        """Read a text as written, also of numbers (`code: 200`); empty if the key is missing."""
        node = table.get(key)
        if node is None or _is_null(node):
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self.fail(node, f"{where}: {key}: expected a text")
        if len(node.value) > max_length:
            self.fail(node, f"{where}: {key}: too long: at most {max_length} characters are accepted")
        if not _is_unicode(node.value):
            self.fail(node, f"{where}: {key}: half a character (a lone surrogate): expected whole ones")
        return str(node.value)

    def label(self, node: yaml.Node, key: str, where: str) -> str:
        """Check the name of a label."""
        if not key or len(key) > MAX_TEXT:
            self.fail(node, f"{where}: label name of {len(key)} characters: expected 1 to {MAX_TEXT}")
        return key

    def choice(self, table: Mapping[str, yaml.Node], key: str, where: str, values: tuple[str, ...]) -> str:
        """Read one of several texts; empty if the key is missing."""
        text = self.text(table, key, where)
        if text and text not in values:
            self.fail(table[key], f"{where}: {key}: {text!r}: expected one of {', '.join(values)}")
        return text

    def gauge_deltas(self, table: Mapping[str, yaml.Node], where: str) -> GaugeDeltas | None:
        """Read the key `gauge_deltas`; None if it is missing."""
        text = self.choice(table, "gauge_deltas", where, get_args(GaugeDeltas))
        return cast("GaugeDeltas", text) if text else None

    def boolean(self, table: Mapping[str, yaml.Node], key: str, where: str) -> bool:
        """Read true or false; false if the key is missing."""
        text = self.text(table, key, where)
        if text.lower() not in ("", "true", "false", "yes", "no", "on", "off"):
            self.fail(table[key], f"{where}: {key}: {text!r}: expected true or false")
        return text.lower() in ("true", "yes", "on")

    def number(self, table: Mapping[str, yaml.Node], key: str, where: str, default: float) -> float:
        """Read a finite number; `default` if the key is missing."""
        text = self.text(table, key, where)
        value = _float(text) if text else default
        if value is None or not abs(value) <= 1e300:
            self.fail(table[key], f"{where}: {key}: {text!r}: expected a finite number")
        return value

    def template(
        self, text: str, node: yaml.Node, where: str, compile_template: Callable[[str], Template]
    ) -> Template:
        """Parse the template in a text; unknown references are noted."""
        compiled = compile_template(text)
        if unknown_references(text, compiled):
            self.note(node, f"{where}: {text!r} has a reference that the match does not capture: it is empty")
        return compiled

    def labels(
        self,
        table: Mapping[str, yaml.Node],
        label_where: str,
        where: str,
        compile_template: Callable[[str], Template],
    ) -> tuple[tuple[str, Template], ...]:
        """Read labels with the templates of their values."""
        return tuple(
            (
                self.label(node, key, label_where),
                self.template(self.text(table, key, where), node, f"{where}: {key}", compile_template),
            )
            for key, node in table.items()
        )

    def timers(self, table: Mapping[str, yaml.Node], where: str) -> TimerUnit | None:
        """Read the key `timer_unit`; None if it is missing."""
        text = self.choice(table, "timer_unit", where, get_args(TimerUnit))
        return cast("TimerUnit", text) if text else None

    def described(self, table: Mapping[str, yaml.Node], where: str) -> MetricDescription:
        """Read the keys `help`, `unit` and `buckets` (or those of `histogram_options`)."""
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
        """Read the key `buckets`: boundaries. A final +Inf is accepted and always implied.

        Boundaries that statsd_exporter accepts but no histogram can have are noted and have no effect.
        """
        nodes = self.list(table.get("buckets"), f"{where}: buckets")
        for node in nodes:
            if not isinstance(node, yaml.ScalarNode) or _float(node.value) is None:
                self.fail(node, f"{where}: buckets: expected a list of numbers")
        bounds = tuple(_float(node.value) or 0.0 for node in nodes)
        bounds = bounds[:-1] if bounds[-1:] == (float("inf"),) else bounds
        if wrong := ladder_problem(bounds):
            self.note(table["buckets"], f"{where}: buckets have no effect: {wrong}")
            return ()
        return bounds

    def check_seconds(self, rule: Rule, node: yaml.Node, where: str, file_unit: TimerUnit | None) -> None:
        """Note a rule whose name says seconds while its values stay milliseconds."""
        unit = rule.timer_unit or file_unit or self.timer_unit
        timers = Kind.DISTRIBUTION in rule.kinds and rule.kind is not Kind.SET and not rule.drop
        if timers and unit == "ms" and rule.timer_unit is None and rule.scale == 1.0 and rule.says_seconds:
            self.note(
                node,
                f"{where}: it names seconds, but values sent as `ms` stay milliseconds;"
                " timer_unit: s divides them by 1000, timer_unit: ms says that this is meant",
            )


def _float(text: str) -> float | None:
    """Parse a number; None if it is not one. YAML writes infinity as `.inf`."""
    try:
        value = float(text.replace(".inf", "inf").replace(".Inf", "inf"))
    except ValueError:
        return None
    return None if value != value else value


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _is_unicode(text: str) -> bool:
    """Return whether a text can be encoded: an escape of YAML may make a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
