"""Prometheus' text format and OpenMetrics 1.0, in pieces. Pure.

Counters keep their names. OpenMetrics wants `_total` at the end of a counter: one without it is `unknown`
there, since another name would be another metric to a query. So is one whose name without `_total`, or with
`_created` instead, is of another metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from agent.exposition.classic_buckets import ClassicBound, bounds_of, counts_up_to, mapped_bounds
from agent.exposition.frame_series import LE, SeriesKey
from agent.exposition.shown_families import Shown, ShownFamily, WrittenNames
from agent.exposition.totals import CounterTotal, GaugeValue, HistogramTotal, SetSize
from agent.wire.exposition_text import escaped_value, head_of, series_of
from agent.wire.number_text import openmetrics_text
from agent.wire.underscore_forms import label_form, metric_form

_TOTAL: Final = "_total"
#: Floats below this are whole numbers without an exponent.
_MAX_WHOLE: Final = 1e15


def text_of(families: Sequence[ShownFamily], *, openmetrics: bool, utf8: bool) -> Iterator[bytes]:
    """Yield the text in pieces of some hundred series."""
    writer = _Writer({family.name for family in families}, openmetrics=openmetrics, utf8=utf8)
    for family in families:
        head, line = writer.family(family)
        yield head.encode()
        for piece in family.pieces():
            yield "".join([text for key, value in piece for text in line(key, value)]).encode()
    if openmetrics:
        yield b"# EOF\n"


#: Writes the lines of one series.
WritesLines = Callable[[SeriesKey, Shown], Sequence[str]]


class _Writer:
    """Writes families. `names`: of all families of this answer."""

    def __init__(self, names: set[str], *, openmetrics: bool, utf8: bool) -> None:
        self._names = names
        self._openmetrics = openmetrics
        self._utf8 = utf8
        self._written = WrittenNames(utf8=utf8)
        self._label_texts: dict[str, str] = {}

    def family(self, family: ShownFamily) -> tuple[str, WritesLines]:
        """Return the head of a family and the writer of its series."""
        name, type_ = family.name, family.type
        if type_ == "counter" and self._openmetrics:
            base = name.removesuffix(_TOTAL)
            if base and base != name and self._names.isdisjoint((base, f"{base}_created")):
                name = base
            else:
                type_ = "unknown"
        head = head_of(self._name(name), type_, family.described.help, quotes=self._openmetrics)
        if family.type == "histogram":
            return head, self._histograms(family)
        created = self._created(name) if type_ == "counter" else ""
        return head, self._numbers(self._name(family.name), created)

    def _created(self, name: str) -> str:
        """Return the written name for times of creation; empty if there are none."""
        return self._name(f"{name}_created") if self._openmetrics else ""

    def _numbers(self, name: str, created: str) -> WritesLines:
        def lines(key: SeriesKey, value: Shown) -> Sequence[str]:
            labels = self._labels(key)
            line = f"{series_of(name, labels)} {_number(_value(value))}\n"
            if created and isinstance(value, CounterTotal):
                return line, f"{series_of(created, labels)} {_number(value.created_s)}\n"
            return (line,)

        return lines

    def _histograms(self, family: ShownFamily) -> WritesLines:
        bounds = classic_bounds(family)
        le = [f'{LE}="{openmetrics_text(bound.upper + 0.0)}"' for bound in bounds] + [f'{LE}="+Inf"']
        bucket, count, total = (self._name(family.name + end) for end in ("_bucket", "_count", "_sum"))
        created = self._created(family.name)
        # OpenMetrics has neither sum nor count where a boundary is negative: the sum may fall.
        has_sum = not (self._openmetrics and bounds and bounds[0].upper < 0)

        def lines(key: SeriesKey, value: Shown) -> Sequence[str]:
            assert isinstance(value, HistogramTotal)
            labels = self._labels(key)
            counts = counts_up_to(value, bounds)
            out = [f"{series_of(bucket, (*labels, at))} {n}\n" for at, n in zip(le, counts, strict=True)]
            if has_sum:
                out.append(f"{series_of(count, labels)} {counts[-1]}\n")
                out.append(f"{series_of(total, labels)} {_number(value.sum)}\n")
            if created:
                out.append(f"{series_of(created, labels)} {_number(value.created_s)}\n")
            return out

        return lines

    def _name(self, name: str) -> str:
        return _quoted(self._written.metric(name), metric_form)

    def _labels(self, key: SeriesKey) -> list[str]:
        known = self._label_texts
        out = []
        for at in range(1, len(key), 2):
            name = key[at]
            text = known.get(name)
            if text is None:
                text = known[name] = _quoted(self._written.label(name), label_form)
            out.append(f'{text}="{escaped_value(key[at + 1])}"')
        return out


def classic_bounds(family: ShownFamily) -> list[ClassicBound]:
    """Return the boundaries of a family: those of the mapping file, else by its observations."""
    if family.described.buckets:
        return mapped_bounds(family.described.buckets)
    return bounds_of(value for _, value in family.series if isinstance(value, HistogramTotal))


def _quoted(name: str, form: Callable[[str], str]) -> str:
    """Quote a name unless it is a legacy name."""
    return name if name.isascii() and form(name) == name else f'"{escaped_value(name)}"'


def _value(value: Shown) -> float:
    match value:
        case CounterTotal():
            return value.highest
        case GaugeValue():
            return value.value
        case SetSize():
            return value.size
        case HistogramTotal():
            return value.count


def _number(value: float) -> str:
    return str(int(value)) if -_MAX_WHOLE < value < _MAX_WHOLE and value == int(value) else repr(value)
