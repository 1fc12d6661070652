"""The mapper profiles of a `datadog.yaml`, as rules.

Owns the key `dogstatsd_mapper_profiles`, in the meaning of Datadog's agent (its mapper, and its documentation
of the "DogStatsD Mapper"):

* A profile is asked for names that begin with its `prefix`, or for all with `*`. Profiles in order, mappings
  in order: the first that matches holds, wildcard or not.
* `wildcard` (the default): `*` is any number of characters but a dot, also within a part; all else is
  literal. `regex`: the expression with a `^` before and a `$` after it, as text.
* In `name` and `tags`, `$1`, `${1}` and `${name}` are what was captured. A reference is as long as it can be.
* The type of the metric plays no part, and values stay as they are.

Accepted beyond it, as in the other format: `gauge_deltas`, `timer_unit`, `help`, `unit` and `buckets`. Other
keys of the file are Datadog's and not ours.
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
    """True if a file has profiles."""
    return isinstance(root, yaml.MappingNode) and KEY in {key.value for key, _ in root.value if _is_text(key)}


def rules(reader: YamlReader, root: yaml.Node) -> tuple[Rule, ...]:
    """The rules of a file that `is_there` knows. Raises MappingError (`line: what`)."""
    top = reader.table(root, "the file", None)
    if "mappings" in top:
        reader.fail(root, f"the file has both `mappings` and `{KEY}`; one of them is accepted")
    found: list[Rule] = []
    for node, profile, prefix in _mappings(reader, top[KEY]):
        if len(found) == MAX_RULES:
            reader.fail(node, f"{KEY}: more than {MAX_RULES} mappings")
        found.append(_rule(reader, node, len(found) + 1, profile, prefix))
    return tuple(found)


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _mappings(reader: YamlReader, profiles: yaml.Node) -> Iterator[tuple[yaml.Node, str, str]]:
    """Each mapping with its profile's name and prefix."""
    for number, node in enumerate(reader.list(profiles, KEY), 1):
        where = f"profile {number}"
        profile = reader.table(node, where, _PROFILE)
        name = reader.text(profile, "name", where)
        if not name:
            reader.fail(node, f"{where}: name is missing")
        where = f"profile {name}"
        prefix = reader.text(profile, "prefix", where)
        if not prefix:
            reader.fail(node, f"{where}: prefix is missing; `*` is accepted for all names")
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
        reader.fail(node, f"{where}: name is missing")
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
    from agent.mapping import regexes  # not where there are no profiles: it is memory, and time at the start

    if wildcard:
        if not _WILDCARD.fullmatch(match):
            reader.fail(
                node,
                f"{where}: match: letters, digits, `-`, `_`, `.` and `*` are accepted; see match_type: regex",
            )
        if "**" in match:
            reader.fail(node, f"{where}: match: `**` is not accepted; `*` takes all up to the next dot")
        match = match.replace(".", r"\.").replace("*", "([^.]*)")
    try:
        return regexes.parse(f"^{match}$")
    except RegexError as e:
        reader.fail(node, f"{where}: match: not a regular expression: {e}")
