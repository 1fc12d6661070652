"""The series of one metric in memory, in columns: ids, and for each tag key each series' value. Pure.

Values are dictionary-encoded, so a matcher tests each distinct value once. A series' id determines its
labels, so an index only grows (into a new one: indexes are immutable, except for the label sets they
remember).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from indexer.intern.sorted_ids import find_ids
from shim.catalog.names import Key
from shim.model.labels import NAME, Labels
from shim.model.matchers import Matcher
from shim.model.values import Bools

Ids = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]


#: Regexes whose outcome a column keeps: one byte a distinct value each.
_MOST_REMEMBERED: Final = 16


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """The values of one tag: series `i` has `texts[codes[i]]`; code 0 is "", for series without the tag."""

    texts: Sequence[str]
    codes: npt.NDArray[np.int32]
    #: Recent results of regexes on the texts: dashboards repeat the same ones.
    remembered: dict[Matcher, Bools] = field(default_factory=dict)

    def met(self, matcher: Matcher) -> Bools:
        """Return which of the texts meet the matcher."""
        if matcher.op in ("=", "!="):  # by far the most common, and a list searches itself at C speed
            met = np.full(len(self.texts), matcher.op == "!=")
            if matcher.value in self.texts:
                met[self.texts.index(matcher.value)] ^= True
            return met
        known = self.remembered.get(matcher)
        if known is None:
            if len(self.remembered) >= _MOST_REMEMBERED:
                self.remembered.clear()
            known = np.fromiter(map(matcher.matches, self.texts), dtype=bool, count=len(self.texts))
            self.remembered[matcher] = known
        return known


@dataclass(frozen=True, slots=True)
class SeriesIndex:
    """Series ascending by id; `columns` by tag key as stored."""

    series_ids: Ids
    project_ids: npt.NDArray[np.uint32]
    kinds: npt.NDArray[np.uint8]
    columns: Mapping[str, LabelColumn]
    #: Label sets made so far, by (variant, series id). See `labels`.
    remembered: dict[tuple[str, int], Labels] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.series_ids)

    def knows(self, series_ids: Ids) -> Bools:
        """Return which of the series the index has."""
        return find_ids(self.series_ids, series_ids)[1]

    def rows(self, series_ids: Ids) -> Rows:
        """Return the rows of the series; unknown ones are left out."""
        at, known = find_ids(self.series_ids, series_ids)
        rows: Rows = at[known]
        return rows

    def matching(self, rows: Rows, matcher: Matcher, keys: Mapping[str, Key]) -> Rows:
        """Return the `rows` whose label meets the matcher."""
        stored = [name for name, key in keys.items() if key.answers_to(matcher.name) and name in self.columns]
        if not stored:
            return rows if matcher.matches("") else rows[:0]
        if len(stored) == 1:
            column = self.columns[stored[0]]
            kept_rows: Rows = rows[column.met(matcher)[column.codes[rows]]]
            return kept_rows
        # Several tags answer to this name (`a.b` and `a_b`): each series shows one of them.
        stored.sort(key=lambda name: (name != matcher.name, name))
        columns = [self.columns[name] for name in stored]
        kept = [
            row
            for row in rows.tolist()
            if matcher.matches(next((t for c in columns if (t := c.texts[c.codes[row]])), ""))
        ]
        return np.array(kept, dtype=np.int64)

    def labels(
        self,
        rows: Rows,
        name: str,
        keys: Mapping[str, Key],
        extra: Callable[[int], tuple[str, str]] | None = None,
        *,
        variant: str,
    ) -> list[Labels]:
        """Return the label sets of `rows`, with the shown name and, if given, one more label per row.

        Tags that `keys` does not have are hidden.

        `variant` tells apart the label sets one series can have (views of a histogram).
        """
        ids = self.series_ids[rows].tolist()
        found = [self.remembered.get((variant, i)) for i in ids]
        unknown = [i for i, labels in enumerate(found) if labels is None]
        if unknown:
            made = self._make(rows[unknown], name, keys, extra)
            for i, labels in zip(unknown, made, strict=True):
                found[i] = labels
                self.remembered[(variant, ids[i])] = labels
        return [labels for labels in found if labels is not None]

    def _make(
        self,
        rows: Rows,
        name: str,
        keys: Mapping[str, Key],
        extra: Callable[[int], tuple[str, str]] | None,
    ) -> list[Labels]:
        """Join the columns in the order of their shown names, so that each row is sorted."""
        columns = {stored: column for stored, column in self.columns.items() if stored in keys}
        shown = [keys[stored].shown for stored in columns]
        clash = len(set(shown)) != len(shown)
        sources: list[tuple[str, Sequence[tuple[str, str] | None]]] = [(NAME, [(NAME, name)] * len(rows))]
        if extra is not None:
            extras = [extra(row) for row in rows.tolist()]
            sources.append((extras[0][0] if extras else "", extras))
        for stored, column in columns.items():
            label = keys[stored].shown
            pairs = [(label, text) if text else None for text in column.texts]
            sources.append((label, [pairs[code] for code in column.codes[rows].tolist()]))
        if clash:
            return [self._make_one(row, name, keys, extra) for row in rows.tolist()]
        sources.sort(key=lambda source: source[0])
        return [
            tuple(pair for pair in pairs if pair is not None)
            for pairs in zip(*(column for _, column in sources), strict=True)
        ]

    def _make_one(
        self, row: int, name: str, keys: Mapping[str, Key], extra: Callable[[int], tuple[str, str]] | None
    ) -> Labels:
        """Keep the tag of that very name where two would be shown alike; the other keeps its own name."""
        pairs = {NAME: name}
        if extra is not None:
            label, text = extra(row)
            pairs[label] = text
        for stored in sorted(
            keys.keys() & self.columns.keys(), key=lambda s: (keys[s].name != keys[s].shown, s)
        ):
            column, key = self.columns[stored], keys[stored]
            text = column.texts[column.codes[row]]
            if text:
                pairs[key.name if key.shown in pairs else key.shown] = text
        return tuple(sorted(pairs.items()))


def empty() -> SeriesIndex:
    """Return an index without series."""
    return SeriesIndex(
        np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.uint8), {}
    )


def grown(
    old: SeriesIndex,
    series_ids: Ids,
    project_ids: npt.NDArray[np.uint32],
    kinds: npt.NDArray[np.uint8],
    tags: Mapping[str, tuple[Ids, Sequence[str], npt.NDArray[np.int32]]],
) -> SeriesIndex:
    """Return `old` with the series that it lacks (distinct, in any order).

    `tags`: by stored key, which of the new series have it, the distinct values, and which value each has.
    """
    ids = np.concatenate([old.series_ids, series_ids])
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    columns: dict[str, LabelColumn] = {}
    for key in dict.fromkeys([*old.columns, *tags]):
        before = old.columns.get(key)
        texts: list[str] = list(before.texts) if before else [""]
        codes = np.zeros(len(ids), dtype=np.int32)
        if before:
            codes[: len(old)] = before.codes
        codes = codes[order]
        if key in tags:
            owners, values, value_codes = tags[key]
            code_of = {text: code for code, text in enumerate(texts)}
            recoded = np.array([code_of.setdefault(v, len(code_of)) for v in values], dtype=np.int32)
            texts = list(code_of)
            codes[np.searchsorted(ids, owners)] = recoded[value_codes]
        columns[key] = LabelColumn(texts, codes)
    return SeriesIndex(
        ids,
        np.concatenate([old.project_ids, project_ids])[order],
        np.concatenate([old.kinds, kinds])[order],
        columns,
        old.remembered,
    )
