"""A leaf of the plan read: selects its series, and gives each part of them to the reader of its type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from shim.catalog.types import Kind, Part, Selection
from shim.catalog.unlabelled_series import UnlabelledSeries
from shim.eval.aggregate import aggregate
from shim.eval.broadcast import repeated
from shim.eval.merge import concat_vectors, first_wins, relabelled
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.eval.window.stored import FromObservations
from shim.model import labels as lb
from shim.model.errors import ExecutionError
from shim.model.grid import Grid
from shim.model.label_naming import EXACT, LabelNaming
from shim.model.matchers import Matcher
from shim.model.values import Annotations, Ints, Samples, Value, Vector
from shim.plan.nodes import Grouping, Merged, RangeCall, RawRange, SampleTimes, Select, Total, Window
from shim.read import sets, totals
from shim.read.concatenation import concatenate, concatenated
from shim.read.part_reader import PartReader, marked, merges
from shim.read.reader import Reader
from shim.read.row_keys import groups, named
from shim.read.shown_steps import Seen
from shim.read.totals import AllSeries

SelectSeries = Callable[[Sequence[Matcher], int, int], Selection]
SelectTotal = Callable[[Sequence[Matcher], int, int, int], Selection | UnlabelledSeries]
_Asked = tuple[tuple[Matcher, ...], int, int]


@dataclass(frozen=True, slots=True)
class SelectorReader:
    """Reads the leaves of one query."""

    reader: Reader
    select_series: SelectSeries  # (matchers, start_ms, end_ms)
    bounds_of: Callable[[Part], Sequence[float]]  # of `x_bucket`, ascending
    notes: Annotations
    naming: LabelNaming = EXACT
    #: (matchers, start_ms, end_ms, series whose labels are read), for aggregations that may do without labels
    select_total: SelectTotal | None = None
    _selected: dict[_Asked, Selection] = field(default_factory=dict)  # results of select_total with labels

    def read(self, leaf: Select | SampleTimes | RangeCall | Merged, args: Sequence[Value]) -> Vector:
        """Return the leaf's value; one step if `@` fixes it. Held to the query's end. Raises QueryError."""
        found = self._read(leaf, args)
        self.reader.hold(found.cells)
        return found

    def _read(self, leaf: Select | SampleTimes | RangeCall | Merged, args: Sequence[Value]) -> Vector:
        match leaf:
            case Select():
                parts = self._parts(*_look(leaf))
                return concatenate([self._of_part.instant(p, leaf)[0] for p in parts], leaf.at.steps)
            case SampleTimes():
                return self._sample_times(leaf.select, of_info=leaf.of_info)
            case RangeCall():
                return self._range_call(leaf, args)
            case Merged():
                return self._merged(leaf, args)

    def total(self, node: Total, args: Sequence[Value]) -> Vector | None:
        """Aggregate all series without their labels; None if labels have to be read.

        Held to the query's end. Raises QueryError.
        """
        steps = _steps(node.child, args)
        repeats = totals.is_ranked(node.op) and steps != node.grid.steps
        if repeats or not totals.can_chunk(node.op, node.param):
            return None
        max_held = self.reader.max_held if node.param is not None else 0
        found: UnlabelledSeries | AllSeries | None = self._unlabelled(node.child, max_held)
        if found is None:
            found = self._known(node)
        if found is None:
            return self._counted(node)
        total = self._uncached().total_of(found, node, args)
        self.reader.hold(total.cells)
        return total

    def raw(self, node: RawRange) -> Samples:
        """Return the samples of a range vector: one per stored bucket, at its end except for gauges."""
        return concatenated([self._of_part.samples(p, node.window) for p in self._window_parts(node.window)])

    @property
    def _of_part(self) -> PartReader:
        return PartReader(self.reader, self.bounds_of, self.notes)

    def check_histograms(self, samples: Samples, steps: int) -> None:
        """Check as PartReader does. Raises ExecutionError."""
        self._of_part.check_histograms(samples, steps)

    # ------------------------------------------------------------ instant

    def instants(self, leaf: Select) -> list[tuple[Part, Vector, Ints | None]]:
        """Read each part of a selector: its values, and the times of samples that have times of their own."""
        parts = self._parts(*_look(leaf))
        return [(part, *self._of_part.instant(part, leaf)) for part in parts]

    def _sample_times(self, leaf: Select, *, of_info: bool) -> Vector:
        """Source: Prometheus 3.x funcTimestamp; types without times of their own count at the step."""
        out = []
        parts = self._parts(*_look(leaf))
        for part in parts:
            vector, times_ms = self._of_part.instant(part, leaf)
            if times_ms is None:
                times_ms = np.broadcast_to(leaf.at.times_ms, vector.values.shape)
            shown = replace(vector, values=times_ms / 1000)
            if vector.histograms:
                if of_info:
                    raise ExecutionError("info sample should be float")
                present = np.stack([h.present for h in vector.histograms])
                seconds = np.broadcast_to(leaf.at.times_ms / 1000, present.shape)
                shown = Vector(vector.steps, vector.histogram_labels, seconds, present)
            out.append(shown)
        return relabelled(
            concatenate(self._first_of_twins(parts, out, "timestamp"), leaf.at.steps), lb.dropping_name
        )

    # ------------------------------------------------------------ windows

    def _range_call(self, leaf: RangeCall, args: Sequence[Value]) -> Vector:
        parts = self._parts(*_look(leaf))
        found = [self._of_part.window(p, named(p, leaf.function), leaf, args) for p in parts]
        # With arguments a window that `@` fixes has as many values as the arguments have.
        steps = leaf.grid.steps if args else leaf.window.ends.steps
        wide = [repeated(v, steps, self.reader.check_cells) for v in found]
        return concatenate(self._first_of_twins(parts, wide, leaf.function), steps)

    def _first_of_twins(
        self, parts: Sequence[Part], found: Sequence[Vector], function: str
    ) -> Sequence[Vector]:
        """Let the first answer where a function makes numbers of both types of a name; note that."""
        if len(parts) < 2:
            return found
        out, lost = first_wins(found)
        for part, count in zip(parts, lost, strict=True):
            if count and not (function in RANGE_FUNCTIONS and RANGE_FUNCTIONS[function].only_presence):
                self.notes.info(
                    f"{function}() of two types under the same labels: {count} series of the {part.kind}"
                    " are left out; __type__ picks one"
                )
        return out

    # ------------------------------------------------------------ sums of mergeable state

    def _merged(self, node: Merged, args: Sequence[Value]) -> Vector:
        """Sum every part where its data is, if its type merges; otherwise series by series."""
        child = node.child
        if (node.grouping, *node.outer)[-1] == Grouping():
            unlabelled = self._unlabelled(child)
            if unlabelled is not None:
                return self._uncached().merged_of(unlabelled, node, args)
        steps = child.at.steps if isinstance(child, Select) else child.window.ends.steps
        parts = self._parts(*_look(child))
        if len(parts) == 1:
            return self._merged_part(parts[0], node, (node.grouping, *node.outer), args)
        found = [self._merged_part(p, node, (node.grouping,), args) for p in parts]
        return self._sums(concat_vectors(found, steps), (node.grouping, *node.outer), node)

    def _merged_part(
        self, part: Part, node: Merged, groupings: Sequence[Grouping], args: Sequence[Value]
    ) -> Vector:
        """Return the innermost sums of one part, or those of all `groupings` at once if its type merges."""
        child = node.child
        if isinstance(child, Select):
            return self._merged_instant(part, child, node, groupings)
        return self._merged_window(part, child, node, groupings, args)

    def _merged_instant(
        self, part: Part, child: Select, node: Merged, groupings: Sequence[Grouping]
    ) -> Vector:
        if part.kind != "set":  # a running total counts only while its series is alive: not of the group's
            return self._sums(self._of_part.instant(part, child)[0], groupings, node)
        keys = groups(part, groupings, self.naming)
        return marked(sets.latest(self.reader, part, keys, child.at, child.lookback_ms))

    def _merged_window(
        self,
        part: Part,
        child: RangeCall,
        node: Merged,
        groupings: Sequence[Grouping],
        args: Sequence[Value],
    ) -> Vector:
        if not merges(part.kind, part.view, child.function):
            found = self._of_part.window(part, named(part, child.function), child, args)
        else:
            keys = groups(part, groupings, self.naming, lb.dropping_name)
            found = self._of_part.window(part, keys, child, args)
            if part.view != "bucket" or all(("le" in by.labels) is not by.without for by in groupings):
                return found
        return self._sums(found, groupings, node)

    def _sums(self, vector: Vector, groupings: Sequence[Grouping], node: Merged) -> Vector:
        """Sum sums, innermost first."""
        notes, check = self.notes.at(node.place), self.reader.check_cells
        for by in groupings:
            vector = aggregate("sum", vector, by.labels, by.without, None, notes, check, self.naming)
        return vector

    # ------------------------------------------------------------ without labels

    def total_of(
        self, found: UnlabelledSeries | AllSeries, node: Total | Merged, args: Sequence[Value]
    ) -> Vector:
        """Aggregate all series of a leaf, chunk by chunk. Raises QueryError."""
        child, steps = node.child, _steps(node.child, args)
        op, param = (node.op, node.param) if isinstance(node, Total) else ("sum", None)
        every = totals.of_unlabelled(found) if isinstance(found, UnlabelledSeries) else found

        def read(part: Part) -> Vector:
            if isinstance(child, Select):
                return self._of_part.instant(part, child)[0]
            return repeated(
                self._of_part.window(part, named(part, child.function), child, args),
                steps,
                self.reader.check_cells,
            )

        if totals.counts_instead(every.kind, every.view, op, _function(child)):
            every = replace(every, view="count", part=replace(every.part, view="count"))
        sketches = every.kind == "histogram" and not every.view and _needs_buckets(child)
        notes = self.notes.at(node.place)
        return totals.over_chunks(self.reader, every, op, param, steps, read, notes, sketches=sketches)

    def _known(self, node: Total) -> AllSeries | None:
        """Return the series of a total whose labels were looked up before, if they are many."""
        selection = self._selected.get(_asked(*_look(node.child)))
        found = None if selection is None else totals.of_selection(selection, self.reader.max_held)
        if found is not None:
            self._see(node.child, found.kind)
        return found

    def _see(self, child: Select | RangeCall, kind: Kind) -> None:
        """Note when series were read that no selection says."""
        at = child.at if isinstance(child, Select) else child.window.ends
        self.reader.seen.append(Seen(at, exact=kind == "gauge"))

    def _counted(self, node: Total) -> Vector | None:
        """Count distributions by their counts instead of their sketches; None for other types."""
        child = node.child
        selection = self._selected.get(_asked(*_look(child)))
        if selection is None or not any(
            totals.counts_instead(part.kind, part.view, node.op, _function(child)) for part in selection.parts
        ):
            return None
        found = []
        for part in self._parts(*_look(child)):
            some = replace(part, view="count") if (part.kind, part.view) == ("histogram", "") else part
            if isinstance(child, Select):
                found.append(self._of_part.instant(some, child)[0])
            else:
                found.append(self._of_part.window(some, named(some, child.function), child, ()))
        vector = concat_vectors(found, _steps(child, ()))
        total = aggregate(node.op, vector, (), False, None, self.notes.at(node.place))
        self.reader.hold(total.cells)
        return total

    def merged_of(self, found: UnlabelledSeries, node: Merged, args: Sequence[Value]) -> Vector:
        """Return `sum` of all series: where their data is, if their type merges. Raises QueryError."""
        child = node.child
        if isinstance(child, RangeCall) and merges(found.kind, found.view, child.function):
            return self._of_part.window(*totals.merged_part(found), child, args)
        if isinstance(child, Select) and found.kind == "set":
            part, keys = totals.merged_part(found)
            return marked(sets.latest(self.reader, part, keys, child.at, child.lookback_ms))
        return self.total_of(found, node, args)

    def _uncached(self) -> SelectorReader:
        """Return a reader without the cell cache, which is keyed by series."""
        return replace(self, reader=replace(self.reader, blocks=None))

    def _unlabelled(self, child: Select | RangeCall, max_labelled: int = 0) -> UnlabelledSeries | None:
        """Return the series of a selector without labels, if there are many and labels are not needed."""
        asked = _asked(*_look(child))
        if self.select_total is None or asked[2] < 0:
            return None
        found = self.select_total(*asked, max_labelled)
        if isinstance(found, UnlabelledSeries):
            self._see(child, found.kind)
            return found
        self._selected[asked] = found
        return None

    # ------------------------------------------------------------ series

    def _parts(self, matchers: Sequence[Matcher], at: Grid, back_ms: int) -> Sequence[Part]:
        if at.end_ms < 0:  # nothing was before 1970, and the tables know no such time
            return ()
        asked = _asked(matchers, at, back_ms)
        selection = self._selected.get(asked) or self.select_series(*asked)
        for info in selection.infos:
            self.notes.info(info)
        for warning in selection.warnings:
            self.notes.warn(warning)
        parts = [p for p in selection.parts if len(p.labels)]
        self.reader.seen.append(Seen(at, exact=any(p.kind == "gauge" for p in parts)))
        return parts

    def _window_parts(self, window: Window) -> Sequence[Part]:
        return self._parts(window.matchers, window.ends, window.window_ms)


def _look(leaf: Select | RangeCall) -> tuple[Sequence[Matcher], Grid, int]:
    """Find the series that a leaf selects: at which times, and how far back they may have data."""
    if isinstance(leaf, Select):
        return leaf.matchers, leaf.read_at, max(leaf.back_ms, leaf.deltas_ms)
    read = leaf.window.reading(leaf.lookback_ms)
    return read.matchers, read.ends, max(read.window_ms, leaf.lookback_ms, leaf.deltas_ms)


def _steps(leaf: Select | RangeCall, args: Sequence[Value]) -> int:
    """Return how many values each series has: with arguments, as many as those have."""
    if isinstance(leaf, Select):
        return leaf.at.steps
    return leaf.grid.steps if args else leaf.window.ends.steps


def _needs_buckets(leaf: Select | RangeCall) -> bool:
    """Return whether the exponential buckets of distributions are read."""
    if isinstance(leaf, Select):
        return True
    how = RANGE_FUNCTIONS[leaf.function].distribution
    return how.needs_buckets if isinstance(how, FromObservations) else True


def _function(leaf: Select | RangeCall) -> str:
    return "" if isinstance(leaf, Select) else leaf.function


def _asked(matchers: Sequence[Matcher], at: Grid, back_ms: int) -> _Asked:
    """Return the arguments for the catalog."""
    return tuple(matchers), at.start_ms - back_ms, at.end_ms
