"""Label sets of series whose labels are not read: a number each, so that no two are one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, overload

from shim.model.labels import NAME, Labels

_NUMBER: Final = "series"


@dataclass(frozen=True, slots=True)
class Numbered(Sequence[Labels]):
    """Label sets of `size` series of one metric, numbered from `first` on; made when they are looked at.

    `marks` come before all labels (shim/model/labels.py).
    """

    name: str
    first: int
    size: int
    marks: Labels = ()

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, at: int) -> Labels: ...
    @overload
    def __getitem__(self, at: slice) -> Numbered: ...
    def __getitem__(self, at: int | slice) -> Labels | Numbered:
        if isinstance(at, slice):
            start, stop, step = at.indices(self.size)
            assert step == 1
            return replace(self, first=self.first + start, size=max(0, stop - start))
        if not 0 <= at < self.size:
            raise IndexError(at)
        return (*self.marks, (NAME, self.name), (_NUMBER, str(self.first + at)))

    def changed(self, change: Callable[[Labels], Labels]) -> Numbered:
        """Change all of them by a function that only marks labels."""
        one = replace(self, first=0, size=1)[0]
        return replace(self, marks=change(one)[:-2])


def each_changed(labels: Sequence[Labels], change: Callable[[Labels], Labels]) -> Sequence[Labels]:
    """Return the label sets with the marks that `change`, a function that only marks labels, adds."""
    if isinstance(labels, Numbered):
        return labels.changed(change)
    return [change(one) for one in labels]


def number_of(labels: Labels) -> int:
    """Return the number of a series that Numbered named."""
    return int(labels[-1][1])


def named(numbered: Labels, labels: Labels) -> Labels:
    """Return the real labels of a series, with the marks of the numbered ones."""
    return (*numbered[:-2], *labels)
