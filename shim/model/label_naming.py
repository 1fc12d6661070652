"""Label names as a query writes them, and as the series at hand have them. Pure.

A name that a query writes means each label that is called so, or whose underscore form it is: `k8s_pod_name`
means `k8s.pod.name`, too. Where several labels answer to one name, they are one label there, called as it was
asked for. A name that is written in its UTF-8 form means this one label alone.

In the underscore style series come with their labels in underscore form, so that what is shown alike is one
label. Only labels that the query itself names in their UTF-8 form keep it (`kept`) until the answer is made.
Where the style and the query's text say that every name means itself, nothing is looked up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from shim.model import labels as lb
from shim.model.labels import Labels
from shim.model.name_forms import Style, label_form


@dataclass(frozen=True, slots=True)
class NamedLabels:
    """The names that are meant; `renamed`: labels that are one under another name, where several answer."""

    names: frozenset[str]
    renamed: Mapping[str, str] = field(default_factory=dict)

    def of(self, labels: Labels) -> Labels:
        """The labels with those that are one as one; of several in a series the one called so counts."""
        if not self.renamed or not any(name in self.renamed for name, _ in labels):
            return labels
        own = {name for name, _ in labels}
        merged = dict(labels)
        for name, value in labels:
            to = self.renamed.get(name)
            if to is not None:
                del merged[name]
                if to not in own:
                    merged.setdefault(to, value)
        return tuple(sorted(merged.items()))


#: Labels are what they are called.
AS_CALLED: Final = NamedLabels(frozenset())


@dataclass(frozen=True, slots=True)
class LabelNaming:
    """The names of one query: the style of answers, and the UTF-8 names its text asks for or makes."""

    style: Style = "underscore"
    asked: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()  # by functions that set labels: shown as they are written

    @staticmethod
    def of(style: Style, asked: Iterable[str], made: Iterable[str]) -> LabelNaming:
        def in_utf8(names: Iterable[str]) -> frozenset[str]:
            return frozenset(name for name in names if label_form(name) != name)

        return LabelNaming(style, in_utf8(asked), in_utf8(made))

    @property
    def kept(self) -> frozenset[str]:
        """Labels of stored series that stay in their UTF-8 form."""
        return self.asked | self.made if self.style == "underscore" else frozenset()

    @property
    def loose(self) -> bool:
        """Whether a name may mean a label that is called otherwise."""
        return self.style == "utf8" or bool(self.asked or self.made)

    def inside(self, name: str) -> str:
        """A label's name as series of this query have it."""
        return label_form(name) if self.style == "underscore" and name not in self.kept else name

    def answering(self, name: str, sets: Iterable[Labels]) -> tuple[str, ...]:
        """The labels that a name means in these label sets, the one called so first.

        The name itself where there is none.
        """
        if not self.loose or "_" not in name:  # which every underscore form of another name has
            return (name,)
        found = {own for labels in sets for own, _ in labels}
        others = sorted(own for own in found if own != name and label_form(own) == name)
        return (name, *others) if name in found or not others else tuple(others)

    def found(self, names: Collection[str], *sides: Iterable[Labels]) -> NamedLabels:
        """What names mean in the label sets of all sides together."""
        if not self.loose or not any("_" in name for name in names):
            return NamedLabels(frozenset(names))
        sets = [labels for side in sides for labels in side]
        meant: set[str] = set()
        renamed: dict[str, str] = {}
        for name in names:
            answers = self.answering(name, sets)
            if len(answers) == 1:
                meant.add(answers[0])
            else:
                meant |= {name, *answers}
                renamed |= {own: name for own in answers if own != name and own not in names}
        return NamedLabels(frozenset(meant), renamed)

    def shown(self, sets: Iterable[Labels]) -> Mapping[str, str]:
        """What labels of the answer's sets are shown as, where it differs.

        Labels that would be shown alike keep their UTF-8 forms.
        """
        changing = self.kept - self.made
        if not changing:
            return {}
        found = {own for labels in sets for own, _ in labels}
        by_form: dict[str, list[str]] = {}
        for own in found:
            by_form.setdefault(label_form(own), []).append(own)
        return {own: form for form, names in by_form.items() for own in names
                if own in changing and len(names) == 1}  # fmt: skip


#: Every name means itself.
EXACT: Final = LabelNaming()


def first_of(labels: Labels, names: Sequence[str]) -> str:
    """The first of the labels that is there; "" for none."""
    if len(names) == 1:
        return lb.get(labels, names[0])
    return next((value for name in names if (value := lb.get(labels, name))), "")


def final_labels(labels: Labels, shown: Mapping[str, str]) -> Labels:
    """The labels as the answer shows them."""
    out = lb.final_labels(labels)
    if not shown:
        return out
    return tuple(sorted((shown.get(name, name), value) for name, value in out))
