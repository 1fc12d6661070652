"""Maps the head of a line by the rules of a mapping file, or drops its lines.

Owns the order of rules and the effect of each on a head, with the semantics of statsd_exporter (its mapper
and its exporter); agent/mapping/config_file.py reads the file. A mapper is called once per new head, never
per line: the core's cache of heads keeps the result and bounds the memory.

* A rule sees the type and the name without its tags, as sent (dots included).
* Globs precede regular expressions, wherever they are in the file. Among globs the first in the file wins;
  with `glob_disable_ordering` the more specific one, part by part from the left. Among regular expressions
  the first in the file wins; they are unanchored and run in linear time (agent/mapping/regexes.py).
* A rule with `match_metric_type` is ignored for other types. `observer` (old name: `timer`) matches all
  distributions; `set` is our addition.
* Labels become tags and override a line's own tag of that name unless `honor_labels`. A tag whose underscore
  form equals the label's name is the same label, since both would be shown under one name. A label with an
  empty value removes the tag: an empty label equals no label.
* `gauge_deltas` (ours) tells which signs make a gauge's value a delta, instead of the agent's setting.
* `timer_unit` is the unit in which values sent as `ms` are stored: `s` divides them by 1,000. A rule's own
  overrides the file's, which overrides the setting `agent.lines.timer_unit`. The file's also applies to heads
  without a rule.
* `scale` is a factor on each value after that. `metric_type` (ours) changes the type: values are read as if
  the line had been sent with it, but a sample rate counts only if both types support one.
* Without a rule the head is unchanged. An empty resulting name, or a name or tags beyond the bounds of a
  line, is an error: the lines are dropped as if by a rule, and counted separately.

Differences from statsd_exporter: names and tags are kept as they are (the API shows underscores); `ms` is
divided by 1,000 only with `timer_unit: s`; sets exist; equal globs, or globs that share a prefix, are handled
correctly.

Pure except for counts under a lock and the callbacks `describe` and `keep`: receivers of several threads may
call it at once.
"""

from __future__ import annotations

import enum
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from agent.mapping.glob import Globs
from agent.mapping.rule import Regex, Rule
from agent.mapping.template import expand
from agent.protocol.line import TIMER_DIVISORS, Kind, Limits, MetricKey, Skip, TimerUnit, delta_signs
from agent.wire.metadata import MetricDescription

if TYPE_CHECKING:
    from agent.mapping.regexes import RegexSet


_NOTHING: Final = MetricDescription()
#: Metrics that are told again to listeners of a later file, and the bytes of their names.
_MAX_HEADS: Final = 10_000
_MAX_HEAD_BYTES: Final = 1 << 20


class MappingOutcome(enum.Enum):
    """Outcomes of a head; labels of `meterhouse_agent_mapped_heads_total`."""

    MAPPED = "mapped"
    DROPPED = "dropped"
    UNMAPPED = "unmapped"
    ERROR = "error"  # the resulting name is empty, or name or tags are too long or too many


class MappedKey(msgspec.Struct, frozen=True):
    """The result for one head, and the rule that caused it."""

    result: MappingOutcome
    head: MetricKey | None  # None: its lines are dropped
    rule: Rule | None = None
    why: str = ""  # of an error


class _ToldHeads:
    """A head of each name and type, for `tell_again`: without tags, as many as have room."""

    def __init__(self) -> None:
        self._heads: dict[tuple[str, Kind], MetricKey] = {}
        self._bytes = 0

    def add(self, head: MetricKey) -> None:
        """Keep a head, unless its name and type are known or the room is used."""
        key = (head.name, head.kind)
        if key in self._heads or len(self._heads) >= _MAX_HEADS:
            return
        size = len(head.name.encode(errors="surrogatepass"))
        if self._bytes + size <= _MAX_HEAD_BYTES:
            self._bytes += size
            self._heads[key] = msgspec.structs.replace(head, tags=(), ignored=())

    def all(self) -> list[MetricKey]:
        """Return the heads."""
        return list(self._heads.values())


class Mapper:
    """The rules of a file, in their order of precedence. Raises RegexError if they are too large."""

    def __init__(
        self,
        rules: Sequence[Rule],
        limits: Limits,
        *,
        ordered: bool = True,
        timer_unit: TimerUnit | None = None,
        buckets: tuple[float, ...] = (),
        ttl_s: float | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self._divisor = TIMER_DIVISORS[timer_unit or limits.timer_unit]
        #: Called with the name and description of each metric in the file when it first occurs.
        self.describe: Callable[[str, MetricDescription], None] | None = None
        #: Called with the name and lifetime of each metric whose rule has a `ttl`, when it first occurs.
        self.keep: Callable[[str, float], None] | None = None
        self.ttl_s = ttl_s  # of metrics whose rule has none, or that have no rule
        self._buckets = buckets  # of distributions whose rule has none, or that have no rule
        self._limits = limits
        self._ordered = ordered
        self._globs: Globs[Rule] = Globs()
        self._regexes = [rule for rule in rules if rule.expression is not None]
        self._expressions = _expressions([rule.expression for rule in rules if rule.expression is not None])
        for rule in rules:
            if rule.expression is None:
                self._globs.add(rule.match, rule)
        self._counts: Counter[MappingOutcome] = Counter()
        self._lock = threading.Lock()
        self._heads = _ToldHeads()

    def follow(self, before: Mapper) -> None:
        """Go on with the counts of the mapper before, which are totals since the start, and its metrics."""
        self._lock, self._counts, self._heads = before._lock, before._counts, before._heads

    def tell_again(self) -> None:
        """Call `describe` and `keep` for metrics of the mapper before: quiet ones have their facts, too."""
        with self._lock:
            heads = self._heads.all()
        for head in heads:
            self._tell(self.explain(head))

    def counts(self) -> dict[str, float]:
        """Return how many heads had each outcome (values of MappingOutcome) since the start."""
        return {result.value: self._counts[result] for result in MappingOutcome}

    def __call__(self, head: MetricKey) -> MetricKey | Skip:
        """Map the head of a good line; raises nothing."""
        mapped = self.explain(head)
        with self._lock:
            self._counts[mapped.result] += 1
            if self.keep is not None:
                self._heads.add(head)
        if mapped.head is None:
            return Skip.MAPPING
        self._tell(mapped)
        return mapped.head

    def _tell(self, mapped: MappedKey) -> None:
        head, rule = mapped.head, mapped.rule
        if head is None:
            return
        if self.describe is not None and (described := self._described(head, rule)):
            self.describe(head.name, described)
        if self.keep is not None and rule is not None and rule.ttl_s is not None:
            self.keep(head.name, rule.ttl_s)

    def explain(self, head: MetricKey) -> MappedKey:
        """Map a head without counting it, and return the rule that applied."""
        found = self.find(head.name, head.kind)
        if found is None:
            return MappedKey(MappingOutcome.UNMAPPED, self._timed(head))
        rule, captures = found
        if rule.drop:
            return MappedKey(MappingOutcome.DROPPED, None, rule)
        made = _apply(rule, captures, self._timed(head))
        why = _beyond(made, rule, self._limits)
        return (
            MappedKey(MappingOutcome.ERROR, None, rule, why)
            if why
            else MappedKey(MappingOutcome.MAPPED, made, rule)
        )

    @property
    def describes(self) -> bool:
        """Whether the file has metadata of metrics besides their names."""
        return bool(self._buckets) or any(rule.described != _NOTHING for rule in self.rules)

    def names(self) -> Iterator[tuple[str, MetricDescription]]:
        """Yield the metrics that the file describes and names without a reference."""
        for rule in self.rules:
            described = rule.described
            if len(rule.name) == 1 and isinstance(name := rule.name[0], str) and described != _NOTHING:
                yield name, described

    def _described(self, head: MetricKey, rule: Rule | None) -> MetricDescription | None:
        said = rule.described if rule is not None else _NOTHING
        buckets = (said.buckets or self._buckets) if head.kind is Kind.DISTRIBUTION else ()
        described = MetricDescription(said.help, said.unit, buckets)
        return None if described == _NOTHING else described

    def _timed(self, head: MetricKey) -> MetricKey:
        """Apply the file's unit of timers; returns the same object if nothing changes."""
        if not head.timer or head.divisor == self._divisor:
            return head
        return msgspec.structs.replace(head, divisor=self._divisor)

    def find(self, name: str, kind: Kind) -> tuple[Rule, Sequence[str]] | None:
        """Return the rule that applies to a name, and its captures (from 1)."""
        globs = ((rule, stars) for rule, stars in self._globs.find(name) if kind in rule.kinds)
        first = min(globs, key=lambda f: f[0].number, default=None) if self._ordered else next(globs, None)
        if first is not None:
            return first[0], (name, *first[1])
        if self._expressions is None:
            return None
        for place in self._expressions.matching(name):
            rule = self._regexes[place]
            if kind in rule.kinds and name.startswith(rule.prefix):
                return rule, self._expressions.captures(place, name) or ()
        return None


def _expressions(expressions: Sequence[Regex]) -> RegexSet | None:
    if not expressions:
        return None
    from agent.mapping.regexes import RegexSet  # imported only if a rule needs it, to save memory

    return RegexSet(expressions)


def _apply(rule: Rule, captures: Sequence[str], head: MetricKey) -> MetricKey:
    tags = dict(head.tags)
    for key, template in rule.labels:
        same = [tag for tag in tags if tag == key or underscored(tag) == key]
        if same and rule.honor_labels:
            continue
        for tag in same:
            del tags[tag]
        if value := expand(template, captures):
            tags[key] = value
    kind = rule.kind or head.kind
    divisor = TIMER_DIVISORS[rule.timer_unit] if head.timer and rule.timer_unit else head.divisor
    return msgspec.structs.replace(
        head,
        kind=kind,
        name=expand(rule.name, captures),
        tags=tuple(sorted(tags.items())),
        weight=1.0 if kind in (Kind.GAUGE, Kind.SET) else head.weight,
        scale=1.0 if kind is Kind.SET else rule.scale,
        delta_signs=delta_signs(rule.gauge_deltas, marked=head.marked)
        if rule.gauge_deltas
        else head.delta_signs,
        divisor=1.0 if kind is Kind.SET else divisor,
    )


def underscored(name: str) -> str:
    """Return the legacy Prometheus form of a tag's key: `_` for all but ASCII letters, digits and `_`."""
    form = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return f"_{form}" if form[:1].isdigit() else form


def _beyond(head: MetricKey, rule: Rule, limits: Limits) -> str:
    """Return why the result of a rule cannot be used; empty if it can."""
    if not head.name:
        return "the resulting name is empty"
    if len(head.name.encode()) > limits.max_name_bytes:
        return f"the name is longer than agent.lines.max_name_bytes = {limits.max_name_bytes}"
    if len(head.tags) > limits.max_tags:
        return f"more tags than agent.lines.max_tags = {limits.max_tags}"
    made = {key for key, _ in rule.labels}
    if any(len(f"{key}:{value}".encode()) > limits.max_tag_bytes for key, value in head.tags if key in made):
        return f"a tag is longer than agent.lines.max_tag_bytes = {limits.max_tag_bytes}"
    return ""
