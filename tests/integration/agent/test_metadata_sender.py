"""Metadata on its way to an indexer that answers in every way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from agent.forward import metadata_sender
from agent.forward.metadata_sender import MetadataOutcome, MetadataSender
from agent.runtime.logs import Log
from agent.settings import AgentSettings, ForwardSettings
from agent.wire.metadata import MetricDescription
from tests.integration.agent.conftest import Answer, FakeIndexer, wait_until

Make = Callable[..., MetadataSender]


@pytest.fixture
def make(indexer: FakeIndexer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make announcers that wait little, and stop them."""
    monkeypatch.setattr(metadata_sender, "_LINGER_S", 0.01)
    monkeypatch.setattr(metadata_sender, "_BACKOFF_S", 0.01)
    made: list[MetadataSender] = []

    def make(again_s: float = 3_600) -> MetadataSender:
        settings = AgentSettings(org_id=7, project_id=9, forward=ForwardSettings(url=indexer.url, token="t"))
        made.append(MetadataSender(settings, Log(), random.Random(1), again_s=again_s))
        return made[-1]

    yield make
    for announcer in made:
        announcer.stop()


def said(indexer: FakeIndexer) -> list[dict[str, str]]:
    """Names and helps, by request."""
    return [{metric.name: metric.help for metric in message.metrics} for message in indexer.metadata]


def test_names_that_come_together_are_told_together_and_once(indexer: FakeIndexer, make: Make) -> None:
    announcer = make()
    announcer.describe("a", MetricDescription("of a"))
    announcer.describe("b", MetricDescription("of b", "", (1.0,)))
    announcer.start()
    wait_until(lambda: announcer.told[MetadataOutcome.SENT] == 2)
    announcer.describe("a", MetricDescription("of a"))
    announcer.describe("c", MetricDescription("of c"))
    wait_until(lambda: announcer.told[MetadataOutcome.SENT] == 3)
    assert said(indexer) == [{"a": "of a", "b": "of b"}, {"c": "of c"}]
    assert (indexer.metadata[0].org_id, indexer.metadata[0].project_id) == (7, 9)


def test_what_comes_first_holds_and_what_is_new_is_told(indexer: FakeIndexer, make: Make) -> None:
    announcer = make()
    announcer.start()
    announcer.describe("a", MetricDescription("", "seconds"))
    wait_until(lambda: announcer.told[MetadataOutcome.SENT] == 1)
    announcer.describe("a", MetricDescription("late", "ms"))
    wait_until(lambda: announcer.told[MetadataOutcome.SENT] == 2)
    (metric,) = indexer.metadata[1].metrics
    assert (metric.help, metric.unit) == ("late", "seconds")


@pytest.mark.parametrize("answer", [503, (429, {"Retry-After": "0"}), 500, "drop"])
def test_it_tries_again(indexer: FakeIndexer, make: Make, answer: Answer) -> None:
    indexer.metadata_script = [answer] * 3
    announcer = make()
    announcer.describe("a", MetricDescription("of a"))
    announcer.start()
    wait_until(lambda: announcer.told[MetadataOutcome.SENT] == 1)
    assert said(indexer)[-1] == {"a": "of a"}
    assert announcer.told[MetadataOutcome.RETRIED] == 3


@pytest.mark.parametrize("answer", [400, 413, 404])
def test_what_is_refused_is_not_told_until_all_is_told_again(
    indexer: FakeIndexer, make: Make, answer: Answer
) -> None:
    indexer.metadata_script = [answer]
    announcer = make(again_s=0.2)
    announcer.describe("a", MetricDescription("of a"))
    announcer.start()
    wait_until(lambda: announcer.told[MetadataOutcome.SENT] >= 2)
    assert said(indexer)[:3] == [{"a": "of a"}] * 3
    assert announcer.told[MetadataOutcome.REFUSED] == 1


def test_what_waits_at_the_end_is_tried_once_more(indexer: FakeIndexer, make: Make) -> None:
    announcer = make()
    announcer.describe("a", MetricDescription("of a"))
    announcer.stop()  # before it was started: no thread had its turn
    assert said(indexer) == [{"a": "of a"}]
    indexer.metadata_script = [503]
    late = make()
    late.describe("b", MetricDescription("of b"))
    late.stop()
    assert said(indexer)[1:] == [{"b": "of b"}]
    assert late.counts() == {"sent": 0, "retried": 1, "refused": 0, "dropped": 0}


def test_bounds(indexer: FakeIndexer, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_sender, "MAX_NAMES", 3)
    monkeypatch.setattr(metadata_sender, "_BATCH", 2)
    announcer = make()
    for name in ("x" * 4_097, "a", "b", "c", "d"):
        announcer.describe(name, MetricDescription("help"))
    announcer.start()
    wait_until(lambda: announcer.told[MetadataOutcome.SENT] == 3)
    assert [list(names) for names in said(indexer)] == [["a", "b"], ["c"]]
    assert announcer.told[MetadataOutcome.DROPPED] == 2
