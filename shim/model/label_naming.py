"""Maps label names in a query to label names of stored series. Pure.

A name in a query means each label of that name, and each label whose underscore form it is: `k8s_pod_name`
also means `k8s.pod.name`. If several labels match one name, they become one label with the name in the query.
A name in its UTF-8 form means only that label.

In the underscore style, series come with their labels in underscore form, so that labels shown alike are one
label. Only labels that the query itself names in their UTF-8 form keep it (`kept`) until the answer is made.
If style and query text make every name mean itself, nothing is looked up.
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
    """The stored names that a query's names mean; `renamed` maps labels to the name that they share."""

    names: frozenset[str]
    renamed: Mapping[str, str] = field(default_factory=dict)

    def of(self, labels: Labels) -> Labels:
        """Return the labels with renamed labels merged; a label that already has the shared name wins."""
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


#: Every label keeps its name.
AS_CALLED: Final = NamedLabels(frozenset())


@dataclass(frozen=True, slots=True)
class LabelNaming:
    """The names of one query: the style of answers, and the UTF-8 names its text asks for or makes."""

    style: Style = "underscore"
    asked: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()  # by functions that set labels: shown as they are written

    @staticmethod
    def of(style: Style, asked: Iterable[str], made: Iterable[str]) -> LabelNaming:
        """Return the naming of a query that asks for and makes labels of these names."""

        def in_utf8(names: Iterable[str]) -> frozenset[str]:
            return frozenset(name for name in names if label_form(name) != name)

        return LabelNaming(style, in_utf8(asked), in_utf8(made))

    @property
    def kept(self) -> frozenset[str]:
        """Labels of stored series that stay in their UTF-8 form."""
        return self.asked | self.made if self.style == "underscore" else frozenset()

    @property
    def loose(self) -> bool:
        """Whether a name may mean a label of another name."""
        return self.style == "utf8" or bool(self.asked or self.made)

    def inside(self, name: str) -> str:
        """Return a label's name as series of this query have it."""
        return label_form(name) if self.style == "underscore" and name not in self.kept else name

    def answering(self, name: str, sets: Iterable[Labels]) -> tuple[str, ...]:
        """Return the labels that a name means in these label sets, the label of that very name first.

        Without any, return the name itself.
        """
        if not self.loose or "_" not in name:  # which every underscore form of another name has
            return (name,)
        found = {own for labels in sets for own, _ in labels}
        others = sorted(own for own in found if own != name and label_form(own) == name)
        return (name, *others) if name in found or not others else tuple(others)

    def found(self, names: Collection[str], *sides: Iterable[Labels]) -> NamedLabels:
        """Resolve names in the label sets of all sides together."""
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
        """Return the shown name of each label in the answer's sets whose shown name differs.

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
    """Return the value of the first of these labels that is set; "" for none."""
    if len(names) == 1:
        return lb.get(labels, names[0])
    return next((value for name in names if (value := lb.get(labels, name))), "")


def final_labels(labels: Labels, shown: Mapping[str, str]) -> Labels:
    """Return the labels as the answer shows them."""
    out = lb.final_labels(labels)
    if not shown:
        return out
    return tuple(sorted((shown.get(name, name), value) for name, value in out))
