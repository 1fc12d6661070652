"""Mapping, as a table: a mapping file, and the result of each name by it.

The meaning is statsd_exporter's; the cases are ours, beyond those of its README and its own tests. Where its
name sanitising would change a name or a tag, ours stays as it is (the API shows underscores).
"""

from __future__ import annotations

import struct

import pytest

from agent.aggregate.aggregator import Aggregator
from agent.aggregate.state import Bucket
from agent.mapping.config_file import parse
from agent.mapping.mapper import Mapper, MappingOutcome, underscored
from agent.protocol.line import GaugeDeltas, Kind, Limits, Line, MetricKey, Skip, parse_line
from agent.settings import AgentSettings
from agent.wire.metadata import MetricDescription
from tests.support.cores.rows import CORES, new_core, take_rows

LIMITS = Limits()


def mapper(text: str, limits: Limits = LIMITS) -> Mapper:
    return parse(text).mapper(limits)


def said(text: str, line: str) -> str:
    """Return the mapped head of a line: `name{tags} type *scale /divisor`, the last three if not as sent."""
    parsed = parse_line(line.encode(), LIMITS)
    assert isinstance(parsed, Line)
    mapped = mapper(text).explain(parsed.head)
    if mapped.head is None:
        return mapped.result.value
    head = mapped.head
    tags = ",".join(f"{key}={value}" for key, value in head.tags)
    kind = f" {head.kind.value}" if head.kind is not parsed.head.kind else ""
    scale = f" *{head.scale:g}" if head.scale != 1.0 else ""
    scale += f" /{head.divisor:g}" if head.divisor != 1.0 else ""
    rule = f"{mapped.rule.number}: " if mapped.rule else ""
    return f"{rule}{head.name}{{{tags}}}{kind}{scale}"


GLOBS = """
mappings:
- match: test.dispatcher.*.*.*
  name: dispatcher_events
  labels: {processor: $1, action: $2, result: $3, job: test_dispatcher}
- match: test.my-dispatch-host01.name.dispatcher.*.*.*
  name: host_dispatcher_events
  labels: {processor: $1, action: $2, result: $3}
- match: gateway.*.*.*.*.*.*.*.*.*.*.*
  name: gateway_calls
  labels: {path: $1, code: $2, c3: "${3}", c10: "$10", c11: "$11", both: "${1}${10}", stuck: "$1$10"}
- match: "*.*"
  name: catchall
  labels: {first: $1, second: $2, third: "$3", job: "${1}-${2}-$3"}
- match: foo*.bar
  match_type: regex
  name: never
- match: web.*.500
  name: ${1}_errors
- match: "*"
  name: single
"""

ORDER = """
mappings:
- {match: a.*.c, name: first, labels: {x: $1}}
- {match: "*.b.c", name: second, labels: {x: $1}}
- {match: a.b.c, name: third}
- {match: a.b.*, name: fourth, labels: {x: $1}}
- {match: "*.*.*", name: fifth, labels: {x: "$1,$2,$3"}}
- {match: a.b, name: shorter}
- {match: a.*.c, name: again}
"""
UNORDERED = "defaults: {glob_disable_ordering: true}" + ORDER

BACKTRACKING = """
defaults: {glob_disable_ordering: %s}
mappings:
- {match: backtrack.*.bbb, name: one, labels: {label: "${1}_foo"}}
- {match: backtrack.justatest.aaa, name: two, labels: {label: "${1}_foo"}}
- {match: "*.old.*.d", name: three, labels: {l: "$1/$2"}}
- {match: a.old.*.e, name: four, labels: {l: "$1/$2"}}
"""

REGEXES = r"""
defaults: {match_type: regex}
mappings:
- match: (.*)\.(.*)--(.*)\.status\.(.*)\.count
  name: request_total
  labels: {hostname: $1, exec: $2, protocol: $3, code: $4}
- match: test\.(\w+)\.(\w+)\.counter
  name: ${2}_total
  labels: {provider: $1}
- match: part
  name: part_of_it
- match: ^named\.(?P<who>[[:alpha:]]+)\.(?<what>.+)$
  name: named_${what}
  labels: {who: $who, all: $0, one: "$$1", none: "$nobody", bad: "${}x", tail: "${2}_${1}", wide: "$1x"}
- match: maybe\.(a)?(b)?
  name: maybe
  labels: {a: $1, b: "$2"}
- match: glob.*.here
  match_type: glob
  name: globs_go_first
- match: ^glob\.
  name: never
- {match: '^[^[:alpha:]_]&x', name: digit_first}
- {match: ., name: everything_else, action: drop}
"""

TYPES = """
mappings:
- {match: test.foo.*, name: a_counter, match_metric_type: counter, labels: {p: $1}}
- {match: test.foo.*, name: a_gauge, match_metric_type: gauge, labels: {p: $1}}
- {match: test.foo.*, name: a_timer, match_metric_type: timer, labels: {p: $1}}
- {match: test.bar.*, name: an_observer, match_metric_type: observer}
- {match: test.bar.x, name: a_set, match_metric_type: set}
- {match: 'test\\..*', match_type: regex, name: regex_gauge, match_metric_type: gauge}
"""

LABELS = """
mappings:
- {match: over.*, name: over, labels: {host: $1, region: eu}}
- {match: honor.*, name: honor, honor_labels: true, labels: {host: $1, region: eu}}
- {match: empty.*.*, name: empty, labels: {host: $1, none: "$7", is: ""}}
- {match: under.*, name: under, labels: {http_method: $1}}
- {match: honest.*, name: honest, honor_labels: true, labels: {http_method: $1}}
- {match: number.*, name: number, labels: {code: 200, yes: true, half: 0.50}}
"""

OTHER = """
defaults: {match_type: glob, observer_type: histogram, ttl: 1m20s}
mappings:
- {match: drop.me.*, action: drop}
- {match: drop.*.*, action: drop, name: ignored}
- {match: ms.*, name: seconds, scale: 0.001, labels: {what: $1}}
- {match: zero.*, name: zero, scale: 0}
- {match: minus.*, name: minus, scale: -1}
- {match: type.d.*, name: made, metric_type: distribution}
- {match: type.c.*, name: made, metric_type: counter, scale: 2}
- {match: type.g.*, name: made, metric_type: gauge}
- {match: type.s.*, name: made, metric_type: set, scale: 2}
- {match: dots.*, name: "a.b/${1}"}
- {match: none.*, name: "$2"}
- {match: trailing.*, name: "$1_total"}
- {match: "v1.*.2xx", name: digits}
"""

CASES = [
    # globs
    (GLOBS, "test.dispatcher.FooProcessor.send.success:1|c",
     "1: dispatcher_events{action=send,job=test_dispatcher,processor=FooProcessor,result=success}"),
    (GLOBS, "test.my-dispatch-host01.name.dispatcher.FooProcessor.send.success:1|c",
     "2: host_dispatcher_events{action=send,processor=FooProcessor,result=success}"),
    (GLOBS, "gateway.get/a/1/b.200.x.4.5.6.7.8.9.ten.:1|ms",
     "3: gateway_calls{both=get/a/1/bten,c10=ten,c3=x,code=200,path=get/a/1/b}"),  # the last part is empty
    (GLOBS, "foo.bar:1|c", "4: catchall{first=foo,job=foo-bar-,second=bar}"),
    (GLOBS, "web.shop.500:1|c", "6: shop_errors{}"),
    (GLOBS, "one:1|c", "7: single{}"),
    (GLOBS, "a.b.c:1|c", "a.b.c{}"),
    (GLOBS, "test.dispatcher.a.b:1|c", "test.dispatcher.a.b{}"),
    (GLOBS, "test.dispatcher.a.b.c.d:1|c", "test.dispatcher.a.b.c.d{}"),
    (GLOBS, "Test.Dispatcher.a.b.c:1|c", "Test.Dispatcher.a.b.c{}"),
    # the order of globs
    (ORDER, "a.b.c:1|c", "1: first{x=b}"),
    (ORDER, "z.b.c:1|c", "2: second{x=z}"),
    (ORDER, "a.b.d:1|c", "4: fourth{x=d}"),
    (ORDER, "x.y.z:1|c", "5: fifth{x=x,y,z}"),
    (ORDER, "a.b:1|c", "6: shorter{}"),
    (UNORDERED, "a.b.c:1|c", "3: third{}"),
    (UNORDERED, "a.z.c:1|c", "1: first{x=z}"),
    (UNORDERED, "z.b.c:1|c", "2: second{x=z}"),
    (UNORDERED, "a.b.d:1|c", "4: fourth{x=d}"),
    (UNORDERED, "a.y.z:1|c", "5: fifth{x=a,y,z}"),
    (BACKTRACKING % "true", "backtrack.good.bbb:1|c", "1: one{label=good_foo}"),
    (BACKTRACKING % "true", "backtrack.justatest.bbb:1|c", "1: one{label=justatest_foo}"),
    (BACKTRACKING % "false", "backtrack.justatest.bbb:1|c", "1: one{label=justatest_foo}"),
    (BACKTRACKING % "true", "backtrack.justatest.aaa:1|c", "2: two{label=_foo}"),
    (BACKTRACKING % "true", "a.old.c.d:1|c", "3: three{l=a/c}"),
    (BACKTRACKING % "false", "a.old.c.e:1|c", "4: four{l=c/}"),
    # regular expressions
    (REGEXES, "web-1.api--http.status.200.count:1|c",
     "1: request_total{code=200,exec=api,hostname=web-1,protocol=http}"),
    (REGEXES, "test.a.b.counter:1|c", "2: b_total{provider=a}"),
    (REGEXES, "x.test.a.b.counters:1|c", "2: b_total{provider=a}"),  # not anchored
    (REGEXES, "a.party:1|c", "3: part_of_it{}"),
    (REGEXES, "named.joe.x.y:1|c",
     "4: named_x.y{all=named.joe.x.y,bad=${}x,one=$1,tail=x.y_joe,who=joe}"),
    (REGEXES, "maybe.b:1|c", "5: maybe{b=b}"),
    (REGEXES, "glob.x.here:1|c", "6: globs_go_first{}"),
    (REGEXES, "9&x:1|c", "8: digit_first{}"),
    (REGEXES, "anything:1|c", "dropped"),
    # types
    (TYPES, "test.foo.x:1|c", "1: a_counter{p=x}"),
    (TYPES, "test.foo.x:1|g", "2: a_gauge{p=x}"),
    (TYPES, "test.foo.x:1|ms", "3: a_timer{p=x}"),
    (TYPES, "test.foo.x:1|d", "3: a_timer{p=x}"),
    (TYPES, "test.foo.x:1|s", "test.foo.x{}"),
    (TYPES, "test.bar.x:1|h", "4: an_observer{}"),
    (TYPES, "test.bar.x:1|s", "5: a_set{}"),
    (TYPES, "test.bar.x:1|c", "test.bar.x{}"),
    (TYPES, "test.bar.x:1|g", "6: regex_gauge{}"),
    # labels and tags
    (LABELS, "over.a:1|c|#host:b,app:x", "1: over{app=x,host=a,region=eu}"),
    (LABELS, "honor.a:1|c|#host:b,app:x", "2: honor{app=x,host=b,region=eu}"),
    (LABELS, "empty..b:1|c|#host:b,app:x", "3: empty{app=x}"),
    (LABELS, "under.get:1|c|#http.method:put,http-method:del,x:y", "4: under{http_method=get,x=y}"),
    (LABELS, "honest.get:1|c|#http.method:put", "5: honest{http.method=put}"),
    (LABELS, "number.a:1|c", "6: number{code=200,half=0.50,yes=true}"),
    # the rest
    (OTHER, "drop.me.now:1|c", "dropped"),
    (OTHER, "drop.you.now:1|g", "dropped"),
    (OTHER, "ms.load:1|ms", "3: seconds{what=load} *0.001"),
    (OTHER, "zero.x:1|g", "4: zero{} *0"),
    (OTHER, "minus.x:1|g", "5: minus{} *-1"),
    (OTHER, "type.d.x:1|g", "6: made{} distribution"),
    (OTHER, "type.c.x:1|s", "7: made{} counter *2"),
    (OTHER, "type.g.x:1|c", "8: made{} gauge"),
    (OTHER, "type.s.x:1|c", "9: made{} set"),
    (OTHER, "dots.x:1|c", "10: a.b/x{}"),
    (OTHER, "none.x:1|c", "error"),
    (OTHER, "trailing.x:1|c", "error"),  # `$1_total` refers to `1_total`
    (OTHER, "v1.x.2xx:1|c", "13: digits{}"),
    (OTHER, "other:1|c", "other{}"),
    ("", "x:1|c", "x{}"),
    ("mappings:", "x:1|c", "x{}"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "becomes"), CASES, ids=[line for _, line, _ in CASES])
def test_what_a_head_becomes(text: str, line: str, becomes: str) -> None:
    assert said(text, line) == becomes


def head(name: str, kind: Kind = Kind.COUNTER, **more: object) -> MetricKey:
    return MetricKey(kind, name, (), **more)  # type: ignore[arg-type]


def test_results_are_counted() -> None:
    asked = mapper(OTHER)
    assert isinstance(asked(head("ms.a", Kind.DISTRIBUTION)), MetricKey)
    assert asked(head("drop.me.a")) is Skip.MAPPING
    assert asked(head("none.x")) is Skip.MAPPING
    assert asked(head("other")) == head("other")
    assert asked.counts() == dict.fromkeys((result.value for result in MappingOutcome), 1)
    asked.explain(head("other"))
    assert asked.counts()[MappingOutcome.UNMAPPED.value] == 1


def test_a_sample_rate_counts_if_both_types_know_one() -> None:
    asked = mapper(OTHER)
    for name, kind, weight in (
        ("type.d.x", Kind.COUNTER, 10.0),
        ("type.g.x", Kind.COUNTER, 1.0),
        ("type.s.x", Kind.COUNTER, 1.0),
    ):
        made = asked(head(name, kind, weight=10.0))
        assert isinstance(made, MetricKey)
        assert made.weight == weight


@pytest.mark.parametrize(
    ("limits", "name", "why"),
    [
        (Limits(max_name_bytes=9), "x.1234567890", "max_name_bytes"),
        (Limits(max_tag_bytes=9), "x.1234567", "max_tag_bytes"),
        (Limits(max_tags=1), "x.y", "max_tags"),
    ],
)
def test_what_a_rule_makes_keeps_to_the_bounds_of_a_line(limits: Limits, name: str, why: str) -> None:
    asked = mapper("mappings: [{match: x.*, name: $1, labels: {a: '-$1', b: c}}]", limits)
    mapped = asked.explain(head(name))
    assert mapped.result is MappingOutcome.ERROR
    assert why in mapped.why


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.b-c", "a_b_c"), ("9a", "_9a"), ("ü", "_"), ("a_B9", "a_B9"), ("", "")],
)
def test_underscored(name: str, form: str) -> None:
    assert underscored(name) == form


# The core applies it once per new head.


def rows(buckets: list[Bucket]) -> dict[str, object]:
    return {
        f"{series.name}{dict(series.tags)}": cell
        for bucket in buckets
        for series, cell in bucket.cells.items()
    }


TIMERS = """
mappings:
- {match: s.*, name: s, timer_unit: s, scale: 10}
- {match: ms.*, name: ms, timer_unit: ms}
- {match: gauge.*, name: gauge, metric_type: gauge, timer_unit: s}
- {match: set.*, name: set, metric_type: set, timer_unit: s}
- {match: file.*, name: file}
"""
IN_SECONDS = "defaults: {timer_unit: s}" + TIMERS


@pytest.mark.parametrize(
    ("text", "line", "becomes"),
    [
        (TIMERS, "s.x:1|ms", "1: s{} *10 /1000"),
        (TIMERS, "s.x:1|h", "1: s{} *10"),
        (TIMERS, "s.x:1|c", "1: s{} *10"),
        (TIMERS, "gauge.x:1|ms", "3: gauge{} gauge /1000"),
        (TIMERS, "set.x:1|ms", "4: set{} set"),
        (TIMERS, "file.x:1|ms", "5: file{}"),
        (TIMERS, "none:1|ms", "none{}"),
        (IN_SECONDS, "file.x:1|ms", "5: file{} /1000"),
        (IN_SECONDS, "ms.x:1|ms", "2: ms{}"),
        (IN_SECONDS, "none:1|ms", "none{} /1000"),
        (IN_SECONDS, "none:1|d", "none{}"),
    ],
)
def test_timers_in_seconds(text: str, line: str, becomes: str) -> None:
    assert said(text, line) == becomes


def test_a_file_s_unit_goes_before_the_setting() -> None:
    limits = Limits(timer_unit="s")
    for file, divisor in (("", 1000.0), ("defaults: {timer_unit: ms}", 1.0)):
        parsed = parse_line(b"x:1|ms", limits)
        assert isinstance(parsed, Line)
        head = mapper(file, limits)(parsed.head)
        assert isinstance(head, MetricKey)
        assert head.divisor == divisor


def test_who_is_told_what_a_file_says() -> None:
    told = list[tuple[str, MetricDescription]]()
    asked = mapper("""
defaults: {buckets: [1, 2]}
mappings:
- {match: a.*, name: a.$1, help: Of a., unit: seconds}
- {match: b.*, name: b, help: Of b., buckets: [5]}
- {match: c, name: c}
- {match: d, name: "", action: drop, help: never}
""")
    assert list(asked.names()) == [("b", MetricDescription("Of b.", "", (5.0,)))]
    asked.describe = lambda name, described: told.append((name, described))
    for line in (
        b"a.x:1|c",
        b"a.y:1|d",
        b"b.x:1|ms",
        b"b.x:1|g",
        b"c:1|d",
        b"c:1|c",
        b"z:1|h",
        b"z:1|s",
        b"d:1|c",
    ):
        parsed = parse_line(line, LIMITS)
        assert isinstance(parsed, Line)
        asked(parsed.head)
    assert told == [
        ("a.x", MetricDescription("Of a.", "seconds")),
        ("a.y", MetricDescription("Of a.", "seconds", (1.0, 2.0))),
        ("b", MetricDescription("Of b.", "", (5.0,))),
        ("b", MetricDescription("Of b.")),
        ("c", MetricDescription("", "", (1.0, 2.0))),
        ("z", MetricDescription("", "", (1.0, 2.0))),
    ]


def test_a_core_asks_once_per_head() -> None:
    asked = list[str]()

    def ask(sent: MetricKey) -> MetricKey | Skip:
        asked.append(sent.name)
        return (
            Skip.MAPPING if sent.name == "drop" else MetricKey(Kind.GAUGE, "made", (("k", "v"),), scale=0.5)
        )

    core = Aggregator(static_tags={"pod": "p"}, mapper=ask)
    for value in range(4):
        core.add(b"drop:%d|c\nx:%d|c" % (value, value), 1_000)
    assert asked == ["drop", "x"]
    assert core.stats.skipped == {Skip.MAPPING: 4}
    assert core.stats.lines == 8
    assert core.remembered_series == 1
    (series,) = (s for b in core.flush_all(2_000) for s in b.cells)
    assert (series.kind, series.name, series.tags) == (Kind.GAUGE, "made", (("k", "v"), ("pod", "p")))


def test_heads_that_become_one_series_add_up() -> None:
    core = Aggregator(mapper=mapper("mappings: [{match: shop.*.hits, name: hits, scale: 10}]"))
    core.add(b"shop.a.hits:1|c\nshop.b.hits:2|c|@0.5\nshop.a.hits:1|c\nhits:1|c", 1_000)
    (bucket,) = core.flush_all(2_000)
    ((series, cell),) = bucket.cells.items()
    assert (series.name, getattr(cell, "value", None)) == ("hits", 10 + 2 * 10 * 2 + 10 + 1)


DELTAS = """
defaults: {gauge_deltas: never}
mappings:
- {match: signed.*, name: signed.$1, gauge_deltas: signed}
- {match: plus.*, name: plus.$1, gauge_deltas: plus}
- {match: auto.*, name: auto.$1, gauge_deltas: auto, metric_type: gauge}
- {match: default.*, name: default.$1}
"""


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("setting", ["auto", "signed", "plus", "never"])
def test_it_says_per_name_what_a_sign_of_a_gauge_means(core: str, setting: GaugeDeltas) -> None:
    limits = Limits(gauge_deltas=setting)
    running = new_core(core, AgentSettings(lines=limits), mapper(DELTAS, limits))
    for name, kind in (("signed", "g"), ("plus", "g"), ("auto", "c"), ("default", "g"), ("other", "g")):
        for tags in ("", "|#a:b"):
            running.add(f"{name}.x:100|{kind}{tags}\n{name}.x:+1:-5|{kind}{tags}".encode(), 1_000)
    running.flush_all(2_000)
    last = {
        name + ("#" if tags else ""): struct.unpack("<d", struct.pack("<Q", state[1]))[0]
        for _, name, tags, _, state in take_rows(running)["gauge"]
    }
    other = {"auto": (96, -5), "signed": (96, 96), "plus": (-5, -5), "never": (-5, -5)}[setting]
    assert last == {
        "signed.x": 96, "signed.x#": 96, "plus.x": -5, "plus.x#": -5, "auto.x": 96, "auto.x#": -5,
        "default.x": -5, "default.x#": -5, "other.x": other[0], "other.x#": other[1],
    }  # fmt: skip
    running.close()


def test_a_changed_type_reads_the_value_anew() -> None:
    core = Aggregator(mapper=mapper(OTHER))
    core.add(b"type.g.x:5|c\ntype.g.x:-2|c\ntype.c.x:joe|s\ntype.s.x:1:2|c", 1_000)
    found = rows(core.flush_all(2_000))
    assert sum(core.stats.bad.values()) == 1  # joe is not a number
    assert len(found) == 1  # one name, two types: the set is the later one
