"""YAML with line numbers: tables, lists and texts that say where they are wrong. Pure.

Reads as gopkg.in/yaml.v3 in strict mode does: unknown and repeated keys are errors, a number may be a text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NoReturn

import yaml

from shim.model.durations import parse_duration

MAX_FILE_BYTES: Final = 16 << 20
_MAX_DEPTH: Final = 64
#: Tables and lists that are read; aliases count each time, so that they cannot multiply.
_MAX_NODES: Final = 1_000_000
#: Values, tables and lists of a document, each about 1 KiB of memory.
_MAX_MADE: Final = 1_000_000
_NULL: Final = "tag:yaml.org,2002:null"


class RuleFileError(Exception):
    """A file that cannot be used; the text names file and line."""


class RuleLimitError(RuleFileError):
    """A file that is refused because its org has too much, and may be used later."""


class _BoundedLoader(yaml.SafeLoader):
    """PyYAML's loader with bounds on nesting and on the nodes that it makes."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._made = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._made += 1
        if self._made > _MAX_MADE:
            mark = self.get_mark()
            raise yaml.MarkedYAMLError(problem=f"more than {_MAX_MADE} values", problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def check_event(self, *choices: Any) -> bool:
        if self.flow_level + len(self.indents) > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deep", problem_mark=self.get_mark())
        return super().check_event(*choices)


class RuleYaml:
    """Reads the nodes of one file as values, and counts them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._read = 0
        self._merging = 0

    def fail(self, node: yaml.Node, text: str) -> NoReturn:
        """Raise RuleFileError at the line of a node."""
        raise RuleFileError(f"{self.file}:{node.start_mark.line + 1}: {text}")

    def refuse(self, node: yaml.Node, text: str) -> NoReturn:
        """Raise RuleLimitError at the line of a node."""
        raise RuleLimitError(f"{self.file}:{node.start_mark.line + 1}: {text}")

    def first_document(self, text: str) -> yaml.Node | None:
        """Return the first document, None for an empty file. Raises RuleFileError."""
        if len(text) > MAX_FILE_BYTES:
            raise RuleFileError(f"{self.file}: {len(text)} bytes; at most {MAX_FILE_BYTES} are accepted")
        try:
            loader = _BoundedLoader(text)
            node: yaml.Node | None = loader.get_node() if loader.check_node() else None
        except yaml.MarkedYAMLError as e:
            line = e.problem_mark.line + 1 if e.problem_mark else 1
            raise RuleFileError(f"{self.file}:{line}: {e.problem}") from None
        except (yaml.YAMLError, RecursionError) as e:
            raise RuleFileError(f"{self.file}: {e}") from None
        return None if node is None or node.tag == _NULL else node

    def table(self, node: yaml.Node | None, keys: Collection[str] | None, where: str) -> dict[str, yaml.Node]:
        """Return the entries of a table; `keys` are those it may have, None: any. Raises RuleFileError."""
        if node is None or node.tag == _NULL:
            return {}
        self._count(node)
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{where}: expected a table of keys and values")
        found: dict[str, yaml.Node] = {}
        merged: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name == "<<":
                merged |= self._merged(value, keys, where)
                continue
            if keys is not None and name not in keys:
                self.fail(key, f"{where}: unknown key {name!r}; accepted are {', '.join(sorted(keys))}")
            if name in found:
                self.fail(key, f"{where}: key {name!r} is repeated")
            found[name] = value
        return merged | found

    def _merged(self, node: yaml.Node, keys: Collection[str] | None, where: str) -> dict[str, yaml.Node]:
        """Return the entries of tables that another takes over; the first of several wins."""
        if self._merging >= _MAX_DEPTH:
            self.fail(node, f"{where}: tables are merged too deep: at most {_MAX_DEPTH}")
        self._merging += 1
        found: dict[str, yaml.Node] = {}
        for one in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            found = self.table(one, keys, where) | found
        self._merging -= 1
        return found

    def list(self, node: yaml.Node | None, where: str) -> list[yaml.Node]:
        """Return the entries of a list; none for nothing. Raises RuleFileError."""
        if node is None or node.tag == _NULL:
            return []
        self._count(node)
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, f"{where}: expected a list")
        return list[yaml.Node](node.value)

    def text(self, node: yaml.Node | None, where: str) -> str:
        """Return a text, also of a number; empty for nothing. Raises RuleFileError."""
        if node is None or node.tag == _NULL:
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self.fail(node, f"{where}: expected a text")
        return str(node.value)

    def texts(self, node: yaml.Node | None, where: str) -> dict[str, str]:
        """Return a table of texts. Raises RuleFileError."""
        return {k: self.text(v, f"{where}: {k}") for k, v in self.table(node, None, where).items()}

    def duration_ms(self, table: Mapping[str, yaml.Node], key: str, where: str) -> int | None:
        """Return a duration, None if the key is missing. Raises RuleFileError."""
        node = table.get(key)
        if node is None or node.tag == _NULL:
            return None
        try:
            return parse_duration(self.text(node, f"{where}: {key}"))
        except ValueError as e:
            self.fail(node, f"{where}: {key}: {e}; expected one like 30s, 5m or 1h30m")

    def whole(self, table: Mapping[str, yaml.Node], key: str, where: str) -> int:
        """Return a whole number from 0 on, 0 if the key is missing. Raises RuleFileError."""
        text = self.text(table.get(key), f"{where}: {key}")
        if text and not (text.isascii() and text.isdigit()):
            self.fail(table[key], f"{where}: {key} = {text!r}: expected a whole number from 0 on")
        return int(text or 0)

    def _count(self, node: yaml.Node) -> None:
        self._read += 1
        if self._read > _MAX_NODES:
            self.fail(node, f"more than {_MAX_NODES} tables and lists, those of aliases counted each time")
