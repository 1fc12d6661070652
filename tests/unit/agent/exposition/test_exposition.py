"""The exposition as a whole, with a mapping file: help, boundaries, lifetimes; scrapes that are refused."""

from __future__ import annotations

import gzip

import pytest

from agent.exposition.described_metrics import MAX_NAMES, DescribedMetrics
from agent.exposition.exposition import MAX_SCRAPES, Exposition
from agent.exposition.open_exposition import let_describe, open_exposition
from agent.mapping.config_file import parse
from agent.protocol.line import Kind, MetricKey
from agent.settings import AgentSettings, ForwardSettings
from agent.wire.frame import Sender
from agent.wire.metadata import MetricDescription
from tests.support.cores.rows import CORES, new_core
from tests.unit.agent.exposition.folded import T

MAPPING = """
defaults: {ttl: 1m20s}
mappings:
- {match: "web.*.time", name: web_seconds, labels: {route: $1}, ttl: 10m, help: Time., buckets: [0.5, 1]}
- {match: "web.*.hits", name: "web.hits", labels: {route: $1}, help: Hits., ttl: 0}
- {match: "two.*", name: two, ttl: 30s}
- {match: "three.*", name: two, ttl: 45s}
"""


def exposing(core: str, *lines: str, **changes: object) -> Exposition:
    settings = AgentSettings(exposition=True, **changes)  # type: ignore[arg-type]
    mapper = parse(MAPPING).mapper(settings.lines)
    found = open_exposition(settings, mapper)
    assert found is not None
    fed = new_core(core, settings, mapper)
    fed.add("\n".join(lines).encode(), T * 1000)
    fed.flush_all(T * 1000)
    sender = Sender(agent="a", epoch=1)
    frame = fed.next_frame(sender, 1, T * 1000, max_rows=100, max_bytes=1 << 20)
    assert frame is not None
    found.fold(frame)
    found.publish()
    return found


def scraped(exposition: Exposition, **headers: str) -> str:
    answer = exposition.answer(headers)
    assert answer is not None
    body = b"".join(answer.body)
    return (gzip.decompress(body) if answer.encoding == "gzip" else body).decode()


@pytest.mark.parametrize("core", CORES)
def test_the_mapping_file_describes_metrics(core: str) -> None:
    found = exposing(core, "web.a.time:0.7|d", "web.a.hits:2|c", "two.x:1|c", "three.x:1|c", "other:1|c")
    text = scraped(found)
    assert "# HELP web_hits Hits.\n# TYPE web_hits counter\n" in text
    assert 'web_seconds_bucket{route="a",le="0.5"} 0\nweb_seconds_bucket{route="a",le="1.0"} 1\n' in text
    lifetimes = {n: found.described.lifetime_s(n) for n in ("web_seconds", "web_hits", "two", "other")}
    assert lifetimes == {"web_seconds": 600, "web_hits": float("inf"), "two": 45, "other": 80}


@pytest.mark.parametrize(
    ("ttl", "wanted_s"),
    [("0", 0.0), ("90s", 90.0), ("1h2m3s", 3_723.0), ("1.5m", 90.0), ("250ms", 0.25), ("1us2ns", 1.002e-6)],
)
def test_durations_of_a_ttl(ttl: str, wanted_s: float) -> None:
    assert parse(f"defaults: {{ttl: {ttl}}}").ttl_s == pytest.approx(wanted_s)
    (rule,) = parse(f"mappings: [{{match: a, name: b, ttl: {ttl}}}]").rules
    assert rule.ttl_s == pytest.approx(wanted_s)


def test_without_a_ttl_the_setting_counts() -> None:
    settings = AgentSettings(exposition=True, exposition_ttl_s=7.0)
    found = open_exposition(settings, None)
    assert found is not None
    assert found.described.lifetime_s("x") == 7.0
    assert open_exposition(AgentSettings(), None) is None


def test_a_changed_mapping_file_has_its_own_lifetimes() -> None:
    settings = AgentSettings(exposition=True, exposition_ttl_s=7.0)
    texts = ("defaults: {ttl: 1m}", "defaults: {ttl: 30s}", "defaults: {ttl: 0}", "mappings: []")
    mappers = [parse(text).mapper(settings.lines) for text in texts]
    opened = open_exposition(settings, mappers[0])
    assert opened is not None
    found = [opened.described.lifetime_s("x")]
    for mapper in mappers[1:]:
        opened.described.keep("x", 5.0)
        let_describe(mapper, opened)
        found.append(opened.described.lifetime_s("x"))
    assert found == [60.0, 30.0, float("inf"), 7.0]


def test_quiet_metrics_have_the_facts_of_a_changed_mapping_file() -> None:
    """Before their next line: a Prometheus would see other buckets meanwhile, and no help."""
    settings = AgentSettings(exposition=True, exposition_ttl_s=7.0)
    first = parse("mappings: [{match: shop.*, name: shop_$1, help: old}, {match: left.*, name: left}]")
    second = parse("mappings: [{match: shop.*, name: shop_$1, help: new, ttl: 5s, buckets: [1, 2]}]")
    before, after = (file.mapper(settings.lines) for file in (first, second))
    opened = open_exposition(settings, before)
    assert opened is not None
    for name in ("shop.a", "left.b"):
        before(MetricKey(Kind.DISTRIBUTION, name, ()))
    assert opened.described.described("shop_a").help == "old"
    after.follow(before)
    let_describe(after, opened)
    assert opened.described.described("shop_a") == MetricDescription(help="new", buckets=(1.0, 2.0))
    assert opened.described.lifetime_s("shop_a") == 5.0
    assert opened.described.described("left") == MetricDescription()
    assert after.counts()["mapped"] == 2, "as before: no head came"


def test_gzip_has_the_same_text() -> None:
    found = exposing("python", *(f"c:1|c|#i:{i}" for i in range(90)))
    plain = scraped(found)
    assert scraped(found, **{"accept-encoding": "gzip, deflate"}) == plain
    assert found.scrapes == {"answered": 2}


def test_more_scrapes_at_once_are_refused() -> None:
    found = exposing("python", "c:1|c")
    held = [found.answer({}) for _ in range(MAX_SCRAPES)]
    assert None not in held
    assert found.answer({}) is None
    for one in held:
        assert one is not None
        one.body.close()  # the reader went away
    assert scraped(found).startswith("# TYPE c counter\n")
    assert found.scrapes == {"refused": 1, "broken_off": MAX_SCRAPES, "answered": 1}


def test_descriptions_are_bounded() -> None:
    found = DescribedMetrics(60.0, utf8=False)
    for i in range(MAX_NAMES + 1):
        found.describe(f"m.{i}", MetricDescription(help="h"))
        found.keep(f"m.{i}", 5.0)
    assert found.described(f"m_{MAX_NAMES - 1}").help == "h"
    assert found.described(f"m_{MAX_NAMES}") == MetricDescription()
    assert (found.lifetime_s(f"m_{MAX_NAMES - 1}"), found.lifetime_s(f"m_{MAX_NAMES}")) == (5.0, 60.0)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match=r"forward\.url is empty: expected the URL of an indexer"):
        AgentSettings(forward=ForwardSettings(url=""))
    with pytest.raises(ValueError, match="exposition without ops"):
        AgentSettings(exposition=True, ops="")
    with pytest.raises(ValueError, match='tags has the key "le"'):
        AgentSettings(exposition=True, tags={"le": "x"})
    assert not AgentSettings(exposition=True, forward=ForwardSettings(url="")).forward.sends
