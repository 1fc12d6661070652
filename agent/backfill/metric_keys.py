"""Builds metric keys that do not come from a StatsD line, with the same limits. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from agent.protocol.line import Kind, Limits, MetricKey, Reason
from agent.protocol.line_name import has_control_character


def metric_key(kind: Kind, name: str, tags: Mapping[str, str], limits: Limits) -> MetricKey | Reason:
    """Return the key of a series, without empty tags, or the limit that it exceeds."""
    kept = {key: value for key, value in tags.items() if value}
    if not name:
        return Reason.EMPTY_NAME
    if len(name.encode()) > limits.max_name_bytes:
        return Reason.NAME_TOO_LONG
    if len(kept) > limits.max_tags:
        return Reason.TOO_MANY_TAGS
    if any(len(key.encode()) + len(value.encode()) + 1 > limits.max_tag_bytes for key, value in kept.items()):
        return Reason.TAG_TOO_LONG
    if not limits.control_characters and any(map(has_control_character, (name, *kept))):
        return Reason.CONTROL_CHARACTER
    return MetricKey(kind, name, tuple(sorted(kept.items())))
