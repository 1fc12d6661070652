"""info(): labels of info series, added to the series they describe. Pure.

Source: Prometheus 3.x `promql/info.go` and its info.test. Two series belong together when their identifying
labels, `instance` and `job`, are equal. Of info series with equal name and identity the one with the newest
sample counts, at each step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shim.eval.histogram.merging import where_present
from shim.eval.merge import merged, without_empty_rows
from shim.model import labels as lbl
from shim.model.errors import ExecutionError
from shim.model.label_naming import EXACT, LabelNaming
from shim.model.labels import Labels
from shim.model.matchers import Matcher
from shim.model.messages import format_labels
from shim.model.values import Bools, Ints, Vector

IDENTIFYING: Final = ("instance", "job")
TARGET_INFO: Final = Matcher(lbl.NAME, "=", "target_info")
#: The matcher of the name when the selector only has negative ones.
ANY_INFO: Final = Matcher(lbl.NAME, "=~", ".+_info")


def info_matchers(given: Sequence[Matcher]) -> tuple[Matcher, ...]:
    """Return the matchers that select the info series, given those of the second argument."""
    names = [m for m in given if m.name == lbl.NAME]
    if not names:
        return (TARGET_INFO, *given)
    return tuple(given) if any(m.op in ("=", "=~") for m in names) else (ANY_INFO, *given)


def info(
    base: Vector, times_s: Vector, given: Sequence[Matcher] | None, naming: LabelNaming = EXACT
) -> Vector:
    """Add the labels of info series, whose sample times are the values of `times_s`, to `base`.

    `given`: the matchers of the second argument, None without one. A series without an info series stays as
    it is, or is dropped when a matcher requires a value that is missing.

    Raises: ExecutionError where info series contradict each other.
    """
    names = (TARGET_INFO,) if given is None else tuple(m for m in given if m.name == lbl.NAME)
    data = tuple(m for m in given or () if m.name != lbl.NAME)
    base = without_empty_rows(base)  # only present series say which info series are meant
    all_labels = [*base.labels, *base.histogram_labels]
    plain = {labels for labels in all_labels if not _is_info(labels, names)}
    sources = _Sources.of(times_s, plain)
    asked = naming.found({m.name for m in data}, times_s.labels).names
    labels, values, present = [], [], []
    for row, one in enumerate(base.labels):
        for found, here in _enriched(one, base.present[row], one in plain, sources, data, asked):
            labels.append(found)
            values.append(base.values[row])
            present.append(here)
    histogram_labels, histograms = [], []
    for one, h in zip(base.histogram_labels, base.histograms, strict=True):
        for found, here in _enriched(one, h.present, one in plain, sources, data, asked):
            histogram_labels.append(found)
            histograms.append(where_present(h, here))
    shape = (len(labels), base.steps)
    return merged(
        without_empty_rows(
            Vector(
                base.steps,
                labels,
                np.array(values).reshape(shape),
                np.array(present, dtype=bool).reshape(shape),
                histogram_labels,
                histograms,
            )
        )
    )


def _is_info(labels: Labels, names: Sequence[Matcher]) -> bool:
    """Return whether a series is itself an info series: those stay unchanged."""
    name = lbl.get(labels, lbl.NAME)
    return any(m.op in ("=", "=~") for m in names) and all(m.matches(name) for m in names)


def _identity(labels: Labels) -> Labels:
    return lbl.only(labels, IDENTIFYING)


@dataclass(frozen=True, slots=True)
class _Sources:
    """The info series by the identity that they describe."""

    times_s: Vector
    rows: Mapping[Labels, Mapping[str, Sequence[int]]]  # identity -> name -> rows
    chosen: dict[Labels, Ints] = field(default_factory=dict)

    @staticmethod
    def of(times_s: Vector, told_about: set[Labels]) -> _Sources:
        wanted = {
            name: {value for one in told_about if (value := lbl.get(one, name))} for name in IDENTIFYING
        }
        rows: dict[Labels, dict[str, list[int]]] = {}
        for row, labels in enumerate(times_s.labels):
            # Prometheus selects with the values of every identifying label that any series has.
            if all(lbl.get(labels, name) in values for name, values in wanted.items() if values):
                by_name = rows.setdefault(_identity(labels), {})
                by_name.setdefault(lbl.get(labels, lbl.NAME), []).append(row)
        return _Sources(times_s, rows)

    def at_steps(self, identity: Labels) -> Ints:
        """Return the row that counts of each info metric at each step, `(metrics, steps)`; -1 for none."""
        if not identity:
            return np.full((0, self.times_s.steps), -1)
        if identity not in self.chosen:
            found = [self._newest(rows) for rows in self.rows.get(identity, {}).values()]
            self.chosen[identity] = np.array(found, dtype=np.int64).reshape(-1, self.times_s.steps)
        return self.chosen[identity]

    def _newest(self, rows: Sequence[int]) -> Ints:
        """Check that only one has the newest sample.

        Raises: ExecutionError where two have it.
        """
        times = np.where(self.times_s.present[rows], self.times_s.values[rows], -np.inf)
        newest = times.max(axis=0)
        tied = ((times == newest) & np.isfinite(times)).sum(axis=0) > 1
        if tied.any():
            step = int(np.argmax(tied))
            first, second = (rows[i] for i in np.flatnonzero(times[:, step] == newest[step])[:2])
            at_ms = round(float(newest[step]) * 1000)
            a, b = (format_labels(lbl.unmarked(self.times_s.labels[row])) for row in (first, second))
            raise ExecutionError(
                f"found duplicate series for info metric: existing {a} @ {at_ms}, new {b} @ {at_ms}"
            )
        return np.where(np.isfinite(newest), np.asarray(rows)[np.argmax(times, axis=0)], -1)


def _enriched(
    labels: Labels,
    present: Bools,
    told_about: bool,
    sources: _Sources,
    data: Sequence[Matcher],
    asked: Collection[str],
) -> Iterator[tuple[Labels, Bools]]:
    """Yield a series with each set of labels that it gets, and the steps it has them at."""
    if not told_about:
        yield labels, present
        return
    chosen = sources.at_steps(_identity(labels))
    if not len(chosen):
        if all(m.matches("") for m in data):
            yield labels, present
        return
    steps = np.flatnonzero(present)
    patterns, which = np.unique(chosen[:, steps], axis=1, return_inverse=True)
    for i in range(patterns.shape[1]):
        rows = [int(row) for row in patterns[:, i] if row >= 0]
        if not rows and not all(m.matches("") for m in data):
            continue
        here = np.zeros(len(present), dtype=bool)
        here[steps[which.ravel() == i]] = True
        added = _added(labels, [sources.times_s.labels[row] for row in rows], asked)
        yield lbl.make({**dict(labels), **added}), here


def _added(labels: Labels, found: Sequence[Labels], asked: Collection[str]) -> dict[str, str]:
    """Return the labels that info series add: the requested ones, or all; never one the series has."""
    own = {name for name, _ in labels}
    added: dict[str, str] = {}
    for one in found:
        for name, value in lbl.unmarked(one):
            if name == lbl.NAME or (asked and name not in asked):
                continue
            if added.get(name, value) != value:
                raise ExecutionError(f"conflicting label: {name}")
            if name not in own:
                added[name] = value
    return added
