"""The series of one moment as families: one name, one type, its help, and its series. Pure.

Owns the order (by name) and how names are written for a reader. The formats (text_format.py,
protobuf_format.py) write them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from agent.exposition.cumulative_state import PublishedSeries
from agent.exposition.frame_series import SeriesKey
from agent.exposition.totals import CounterTotal, GaugeValue, HistogramTotal, SetSize
from agent.wire.exposition_text import CODED, coded_name
from agent.wire.metadata import MetricDescription
from agent.wire.underscore_forms import label_form, metric_form

Shown = CounterTotal | GaugeValue | SetSize | HistogramTotal
#: Series of one piece of an answer: other threads run in between.
PIECE: Final = 500


class ShownFamily(msgspec.Struct, frozen=True):
    """The series of one name. `type` is Prometheus': counter, gauge or histogram."""

    name: str
    type: str
    series: Sequence[tuple[SeriesKey, Shown]]
    described: MetricDescription

    def pieces(self) -> Iterator[Sequence[tuple[SeriesKey, Shown]]]:
        """Yield the series in pieces."""
        for start in range(0, len(self.series), PIECE):
            yield self.series[start : start + PIECE]


#: Returns the help and the boundaries of a metric.
Describe = Callable[[str], MetricDescription]


def families_of(shown: PublishedSeries, describe: Describe) -> list[ShownFamily]:
    """Return the families in the order of their names."""
    tables: tuple[tuple[str, Mapping[SeriesKey, Shown]], ...] = (
        ("counter", shown.counters),
        ("gauge", shown.gauges),
        ("gauge", shown.sets),
        ("histogram", shown.histograms),
    )
    found = list[ShownFamily]()
    for type_, table in tables:
        grouped: dict[str, list[tuple[SeriesKey, Shown]]] = {}
        for key, value in table.items():
            grouped.setdefault(key[0], []).append((key, value))
        found += (ShownFamily(name, type_, series, describe(name)) for name, series in grouped.items())
    return sorted(found, key=lambda family: family.name)


class WrittenNames:
    """Names as a reader takes them: as they are, or encoded in ASCII for readers without UTF-8.

    A name that looks encoded is encoded as well, so that no two names are written alike: a Prometheus refuses
    a whole scrape for a label that comes twice.
    """

    def __init__(self, *, utf8: bool) -> None:
        self._utf8 = utf8
        self._labels: dict[str, str] = {}

    def metric(self, name: str) -> str:
        """Return the name of a metric."""
        return self._written(name, metric_form)

    def label(self, name: str) -> str:
        """Return the name of a label."""
        found = self._labels.get(name)
        if found is None:
            found = self._labels[name] = self._written(name, label_form)
        return found

    def _written(self, name: str, form: Callable[[str], str]) -> str:
        plain = name.isascii() and form(name) == name and not name.startswith(CODED)
        return name if self._utf8 or plain else coded_name(name)
