"""Converts a tree of tables and values into settings, and finds all problems at once.

msgspec stops at the first problem. So the value with the problem is left out, and the rest is tried again.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from agent.config.errors import names_of, with_accepted, with_value

#: Problems that are reported at once.
MAX_PROBLEMS: Final = 20

T = TypeVar("T", bound=msgspec.Struct)


def convert(tree: dict[str, Any], cls: type[T], *, strict: bool) -> tuple[T | None, list[str]]:
    """Return the settings and no problem, or the rest of them and all problems.

    Values with problems are removed from `tree`. The settings are None if no other value could be found.
    """
    problems: list[str] = []
    left_out: list[list[str]] = []
    while len(problems) < MAX_PROBLEMS:
        try:
            return msgspec.convert(tree, cls, strict=strict), problems
        except msgspec.ValidationError as e:
            problem = str(e)
        names = names_of(problem)
        if not _follows(problem, left_out):
            problems.append(with_value(with_accepted(problem, cls), tree))
        while names and not is_in(tree, names):
            names.pop()
        if not names:
            break
        left_out.append(names)
        _remove(tree, names)
    return None, problems


def is_in(tree: Any, names: Sequence[str]) -> bool:
    """Return whether the tree has a value at `names`."""
    for name in names:
        if not isinstance(tree, dict) or name not in tree:
            return False
        tree = tree[name]
    return True


def _remove(tree: dict[str, Any], names: Sequence[str]) -> None:
    for name in names[:-1]:
        tree = tree[name]
    del tree[names[-1]]


def _follows(problem: str, left_out: Sequence[Sequence[str]]) -> bool:
    """Return whether a check of a section may have failed only because a value it names was left out."""
    at = re.search(r"^([a-z].*) - at `\$\.?([\w.]*)`$", problem, re.DOTALL)
    if at is None:
        return False
    section, words = [name for name in at[2].split(".") if name], re.findall(r"\w+", at[1])
    return any(list(names[: len(section)]) == section and names[-1] in words for names in left_out)
