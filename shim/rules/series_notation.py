"""Prometheus' notation of test series: `up{job="x"}` and `1 2 _ 0+10x5 stale`. Pure.

Source: Prometheus 3.x `promql/parser` (ParseSeriesDesc, ParseMetric).
"""

from __future__ import annotations

import re
from typing import Final

from shim.model import labels as lb
from shim.model.errors import BadData
from shim.model.labels import Labels
from shim.plan.parse import parse_selector
from shim.rules.memory_samples import STALE

#: Hexadecimal numbers are left out: `0x10` repeats 0.
_NUMBER: Final = r"(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI]nf|[nN]a[nN])"
_ITEM: Final = re.compile(
    rf"(?P<missing>_)(?:x(?P<gaps>\d+))?|(?P<stale>stale)"
    rf"|(?P<first>[+-]?{_NUMBER})(?:(?P<step>[+-]{_NUMBER}))?(?:x(?P<times>\d+))?"
)
#: The values of a series; a longer one is refused before it is made.
MAX_VALUES: Final = 1_000_000

#: A gap in a series: no sample.
MISSING: Final = "missing"
TestValue = float | str | None  # a number, MISSING, or STALE


def parse_metric(text: str) -> Labels:
    """Return the labels of `name{a="b"}`, of `{a="b"}`, or of nothing. Raises BadData."""
    if not text.strip() or text.strip() == "{}":
        return ()
    selector = parse_selector(text)
    for matcher in selector.matchers:
        if matcher.op != "=":
            raise BadData(f"{text}: {matcher.name}{matcher.op}: expected labels with =")
    return lb.make([(m.name, m.value) for m in selector.matchers])


def parse_values(text: str) -> list[TestValue]:
    """Return the values of a series, one per interval. Raises BadData."""
    if "{{" in text:
        raise BadData("native histograms are not supported in input_series; expected numbers, _ or stale")
    out: list[TestValue] = []
    for item in text.split():
        found = _ITEM.fullmatch(item)
        if found is None:
            raise BadData(f"{item!r}: expected a number, 1+2x3, 1x3, _, _x3 or stale")
        if len(out) + int(found["gaps"] or found["times"] or 0) >= MAX_VALUES:
            raise BadData(f"{text[:40]!r}: at most {MAX_VALUES} values are accepted")
        if found["missing"]:
            out += [MISSING] * int(found["gaps"] or 1)
        elif found["stale"]:
            out.append(STALE)
        else:
            out += _expanded(found, item)
    return out


def _expanded(found: re.Match[str], item: str) -> list[TestValue]:
    first, step = float(found["first"]), float(found["step"] or "0")
    if found["step"] and found["times"] is None:
        raise BadData(f"{item!r}: expected a repetition, as in {item}x3")
    values: list[TestValue] = []
    for _ in range(int(found["times"] or 0) + 1):
        values.append(first)
        first += step
    return values
