"""Prometheus' text format for samples of many metrics: `# HELP`, `# TYPE`, then the series of each. Pure.

Owns the text: families in order of their names, series in order of their labels, each once. Names that are
not legacy Prometheus names are quoted where the reader takes UTF-8, and in underscores elsewhere. Label names
are escaped in either form, so that no tag's key can begin another line or another label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.wire.exposition_text import escaped_value, head_of, series_of, written_name
from shim.catalog.names import CLASSIC
from shim.model.labels import NAME, Labels
from shim.model.name_forms import label_form, metric_form

#: Type, help and unit by shown name, as in /api/v1/metadata.
Metadata = Mapping[str, Sequence[Mapping[str, str]]]

_UNTYPED: Final = "untyped"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample; its labels have the metric's name."""

    labels: Labels
    value: str
    at_ms: int


def exposition(samples: Iterable[Sample], metadata: Metadata, *, utf8: bool) -> str:
    """Format the samples as text. Of series with the same text the first is kept."""
    families: dict[str, dict[str, str]] = {}
    for sample in sorted(samples, key=lambda s: s.labels):
        name = dict(sample.labels).get(NAME, "")
        lines = families.setdefault(_family(name, metadata), {})
        series = series_text(sample.labels, utf8=utf8)
        lines.setdefault(series, f"{series} {sample.value} {sample.at_ms}\n")
    return "".join(
        text
        for name, lines in sorted(families.items())
        for text in (_head(name, metadata.get(name, ()), utf8=utf8), *lines.values())
    )


def series_text(labels: Labels, *, utf8: bool) -> str:
    """Format a series: `name{label="value"}`, or `{"a.name","a.label"="value"}`."""
    name = _name(dict(labels).get(NAME, ""), utf8=utf8)
    return series_of(name, (f'{key}="{value}"' for key, value in _pairs(labels, utf8=utf8).items()))


def _pairs(labels: Labels, *, utf8: bool) -> dict[str, str]:
    """Return labels by their written name; of names that become one the first label is kept."""
    pairs: dict[str, str] = {}
    for key, value in labels:
        if key != NAME:
            pairs.setdefault(written_name(key, label_form(key), utf8=utf8), escaped_value(value))
    return pairs


def _name(name: str, *, utf8: bool) -> str:
    return written_name(name, metric_form(name), utf8=utf8) if name else "_"


def _family(name: str, metadata: Metadata) -> str:
    """Return the metric of a series name: itself, or the distribution whose classic series it is."""
    if name in metadata:
        return name
    for view in CLASSIC:
        base = name.removesuffix(f"_{view}")
        if base != name and any(entry["type"] == "histogram" for entry in metadata.get(base, ())):
            return base
    return name


def _head(name: str, entries: Sequence[Mapping[str, str]], *, utf8: bool) -> str:
    """Return the lines before a family's series; none for computed values, which have no metric."""
    if not entries:
        return ""
    types = {entry["type"] for entry in entries}
    type_ = types.pop() if len(types) == 1 else _UNTYPED
    shown = _name(name, utf8=utf8)
    return head_of(shown, type_, entries[0]["help"])
