"""label_replace: a label made from another by a regular expression (RE2, anchored)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from shim.eval.functions.signature import CallContext, Function, all_labels, target_of, text_of, vector_of
from shim.eval.label_bytes import LabelBytes
from shim.eval.merge import relabelled
from shim.model import labels as lbl
from shim.model.errors import BadData, ExecutionError
from shim.model.label_naming import first_of
from shim.model.labels import Labels
from shim.model.matchers import compile_regex
from shim.model.values import Value
from shim.promql.go_strings import is_label_name, shown

_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def _label_replace(context: CallContext, args: Sequence[Value]) -> Value:
    """Set `dst` to the expanded replacement where all of `src` matches; an empty result removes `dst`."""
    dst, replacement, src, pattern = (text_of(arg) for arg in args[1:])
    try:
        regex: Any = compile_regex(pattern)
    except BadData:
        raise ExecutionError(f"invalid regular expression in label_replace(): {pattern}") from None
    if not is_label_name(dst):
        raise ExecutionError(f"invalid destination label name in label_replace(): {shown(dst)}")

    vector = vector_of(args[0])
    sources, target = context.naming.answering(src, all_labels(vector)), target_of(context, dst, vector)

    made = LabelBytes("label_replace()")

    def change(labels: Labels) -> Labels:
        match = regex.search(first_of(labels, sources))
        if match is None:
            return labels
        return lbl.changed(labels, target(labels), shown(expand(replacement, match, made)))

    return relabelled(vector, change)


def expand(template: str, match: Any, made: LabelBytes) -> str:
    """Expand `$1`, `$name`, `${1}` and `$$` as Go's Regexp.ExpandString: longest name, unknown ones empty.

    Raises: ExecutionError where the result would be too long.
    """
    groups: dict[str, str] = {}  # extracted once from the match, even if named often
    parts, end = [], 0
    for reference in _REFERENCE.finditer(template):
        parts.append(template[end : reference.start()])
        end = reference.end()
        name = reference[2] or reference[3] or ""
        if not reference[1] and name not in groups:
            groups[name] = _group(match, name)
        parts.append("$" if reference[1] else groups[name])
    return made.joined([*parts, template[end:]])


def _group(match: Any, name: str) -> str:
    try:
        found = match.group(int(name) if name.isdigit() else name)
    except (IndexError, KeyError):
        return ""
    return found or ""


FUNCTIONS = (
    Function(
        "label_replace",
        ("vector", "string", "string", "string", "string"),
        "vector",
        _label_replace,
        made_labels=slice(1, 2),
        read_labels=slice(3, 4),
    ),
)
