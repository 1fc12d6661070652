"""The supported file formats by name, and the format that a file name implies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

from agent.backfill.csv_records import CsvConverter
from agent.backfill.openmetrics import OpenMetricsConverter
from agent.backfill.samples import Converter
from agent.backfill.statsd_lines import StatsdConverter
from agent.settings import AgentSettings

Format = Literal["statsd", "openmetrics", "csv"]

#: Format -> factory of its converter, from the settings and the latest time that a sample may have.
FORMATS: Final[Mapping[Format, Callable[[AgentSettings, int], Converter]]] = {
    "statsd": lambda _, __: StatsdConverter(),
    "openmetrics": lambda s, newest_ms: OpenMetricsConverter(
        s.lines, s.aggregate.max_total_series, newest_ms
    ),
    "csv": lambda s, _: CsvConverter(s.lines),
}
_SUFFIXES: Final[Mapping[str, Format]] = {
    ".om": "openmetrics",
    ".openmetrics": "openmetrics",
    ".prom": "openmetrics",
    ".csv": "csv",
}


def format_of(name: str) -> Format:
    """Return the format that a file name implies; StatsD lines by default."""
    name = name.removesuffix(".gz").lower()
    return next((form for suffix, form in _SUFFIXES.items() if name.endswith(suffix)), "statsd")
