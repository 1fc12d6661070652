"""Converts the mapper profiles of a `datadog.yaml` to rules.

Owns the key `dogstatsd_mapper_profiles`, with the semantics of Datadog's agent (its mapper, and its
documentation of the "DogStatsD Mapper"):

* A profile applies to names that begin with its `prefix`, or to all with `*`. Profiles and mappings are tried
  in order: the first match wins, wildcard or not.
* `wildcard` (the default): `*` is any number of characters except a dot, also within a part; everything else
  is literal. `regex`: the expression with a `^` before and a `$` after it, as text.
* In `name` and `tags`, `$1`, `${1}` and `${name}` are captures. A reference is as long as possible.
* The type of the metric is irrelevant, and values are unchanged.

Accepted beyond it, as in the other format: `gauge_deltas`, `timer_unit`, `help`, `unit` and `buckets`. Other
keys of the file belong to Datadog's agent and are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import yaml

from agent.mapping.rule import Regex, RegexError, Rule
from agent.mapping.template import for_regex
from agent.mapping.yaml_nodes import MAX_RULES, YamlReader
from agent.protocol.line import Kind

KEY: Final = "dogstatsd_mapper_profiles"

_PROFILE: Final = frozenset({"name", "prefix", "mappings"})
_MAPPING: Final = frozenset({
    "match", "match_type", "name", "tags", "gauge_deltas", "timer_unit", "help", "unit", "buckets",
})  # fmt: skip
_WILDCARD: Final = re.compile(r"[a-zA-Z0-9\-_*.]+")


def is_there(root: yaml.Node) -> bool:
    """Return whether a file has profiles."""
    return isinstance(root, yaml.MappingNode) and KEY in {key.value for key, _ in root.value if _is_text(key)}


def rules(reader: YamlReader, root: yaml.Node) -> tuple[Rule, ...]:
    """Return the rules of a file with profiles. Raises MappingError (`line: problem`)."""
    top = reader.table(root, "the file", None)
    if "mappings" in top:
        reader.fail(root, f"the file has both `mappings` and `{KEY}`: expected one of them")
    found: list[Rule] = []
    for node, profile, prefix in _mappings(reader, top[KEY]):
        if len(found) == MAX_RULES:
            reader.fail(node, f"{KEY}: more than {MAX_RULES} mappings")
        found.append(_rule(reader, node, len(found) + 1, profile, prefix))
    return tuple(found)


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _mappings(reader: YamlReader, profiles: yaml.Node) -> Iterator[tuple[yaml.Node, str, str]]:
    """Yield each mapping with its profile's name and prefix."""
    for number, node in enumerate(reader.list(profiles, KEY), 1):
        where = f"profile {number}"
        profile = reader.table(node, where, _PROFILE)
        name = reader.text(profile, "name", where)
        if not name:
            reader.fail(node, f"{where}: name is missing: expected a text")
        where = f"profile {name}"
        prefix = reader.text(profile, "prefix", where)
        if not prefix:
            reader.fail(node, f"{where}: prefix is missing: expected a text, or `*` for all names")
        for mapping in reader.list(profile.get("mappings"), f"{where}: mappings"):
            yield mapping, name, "" if prefix == "*" else prefix


def _rule(reader: YamlReader, node: yaml.Node, number: int, profile: str, prefix: str) -> Rule:
    where = f"profile {profile}: mapping {number}"
    entry = reader.table(node, where, _MAPPING)
    match, name = reader.text(entry, "match", where), reader.text(entry, "name", where)
    if not match:
        reader.fail(node, f"{where}: match is missing")
    where = f"{where} ({match})"
    if not name:
        reader.fail(node, f"{where}: name is missing: expected a text")
    wildcard = reader.choice(entry, "match_type", where, ("wildcard", "regex")) != "regex"
    expression = _expression(reader, entry["match"], where, match, wildcard=wildcard)
    tags = reader.table(entry.get("tags"), f"{where}: tags", None)

    def compile_template(text: str) -> tuple[str | int, ...]:
        return for_regex(text, expression.groups, expression.names)

    rule = Rule(
        number=number,
        line=node.start_mark.line + 1,
        match=match,
        expression=expression,
        kinds=frozenset(Kind),
        name=reader.template(name, entry["name"], f"{where}: name", compile_template),
        labels=reader.labels(tags, f"{where}: tags", where, compile_template),
        gauge_deltas=reader.gauge_deltas(entry, where),
        timer_unit=reader.timers(entry, where),
        prefix=prefix,
        described=reader.described(entry, where),
    )
    reader.check_seconds(rule, entry["name"], where, None)
    return rule


def _expression(reader: YamlReader, node: yaml.Node, where: str, match: str, *, wildcard: bool) -> Regex:
    from agent.mapping import regexes  # imported only if needed: RE2 costs memory and time

    if wildcard:
        if not _WILDCARD.fullmatch(match):
            reader.fail(
                node,
                f"{where}: match: expected letters, digits, `-`, `_`, `.` and `*`, or match_type: regex",
            )
        if "**" in match:
            reader.fail(
                node, f"{where}: match: `**`: expected a single `*`, which matches up to the next dot"
            )
        match = match.replace(".", r"\.").replace("*", "([^.]*)")
    try:
        return regexes.parse(f"^{match}$")
    except RegexError as e:
        reader.fail(node, f"{where}: match: not a regular expression: {e}")
