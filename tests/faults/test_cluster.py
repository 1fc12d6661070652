"""A short run of `python -m tests.faults.cluster` with one kill, and its plan and truth by values."""

from __future__ import annotations

import json

import pytest

from tests.faults.cluster.__main__ import main
from tests.faults.cluster.kill_plan import REDIS, RedisMode, plan
from tests.faults.cluster.line_truth import Difference, LineTruth
from tests.support.parts_watch import worst_rate

NAMES = [*(f"indexer {n}" for n in range(3)), "shim 0", "shim 1", *(f"agent {n}" for n in range(5))]
KINDS = ["flushed", "garbage"]


@pytest.mark.e2e
def test_one_kill_of_an_indexer(capsys: pytest.CaptureFixture[str]) -> None:
    size = ("--indexers", "2", "--shims", "1", "--agents", "3", "--real", "1", "--series", "3")
    code = main(["--seconds", "6", "--every", "5", "--seed", "1", "--parts", "100", *size])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["exact"], report
    assert code == 0
    assert report["events"]["kill indexer"] == 1
    assert report["rows"] >= 6  # of each type: two simulated agents with three series
    assert report["lines"] > 0
    assert report["asked"] > 0


@pytest.mark.parametrize("redis", ["always", "half", "foreign"])
def test_a_plan_repeats_and_kills_each_process_once_until_it_is_started(redis: RedisMode) -> None:
    events = plan(7, 600.0, 6.0, NAMES, redis, KINDS)
    assert events == plan(7, 600.0, 6.0, NAMES, redis, KINDS)
    assert events != plan(8, 600.0, 6.0, NAMES, redis, KINDS)
    away: set[str] = set()
    dead = ""
    for event in events:
        if event.action == "kill":
            assert event.name not in away
            away.add(event.name)
        elif event.action == "start":
            away.remove(event.name)
        elif event.action == "die":
            assert event.name not in away
            dead = event.name
        elif event.at_s > 420.0:
            assert event.name != dead
    assert [event.action for event in events if event.name == dead][-1] == "die"
    killed = {event.name for event in events if event.action == "kill"}
    assert killed == {*NAMES, *(() if redis == "foreign" else (REDIS,))}
    foreign = {event.name for event in events if event.action == "foreign"}
    assert foreign == (set(KINDS) if redis == "foreign" else set())


def test_redis_is_gone_half_of_the_time() -> None:
    events = [event for event in plan(7, 600.0, 6.0, NAMES, "half", KINDS) if event.name == REDIS]
    kills = [event.at_s for event in events if event.action == "kill"]
    starts = [event.at_s for event in events if event.action == "start"]
    gone_s = sum(start - kill for kill, start in zip(kills, starts, strict=True))
    assert 0.45 < gone_s / starts[-1] < 0.6


def test_lines_of_a_killed_agent_may_be_lost_only_if_they_were_not_promised() -> None:
    truth = LineTruth()
    truth.send("a", 5)
    truth.promise("a")
    truth.send("a", 2)
    truth.kill("a")
    truth.send("a", 3)
    truth.promise("a")
    assert truth.sent == 10
    for got, found in (
        ({("a", "0"): 7, ("a", "1"): 3}, Difference()),
        ({("a", "0"): 5, ("a", "1"): 3}, Difference(excused=2)),
        ({("a", "0"): 4, ("a", "1"): 3}, Difference(lost=1, excused=2)),
        ({("a", "0"): 8, ("a", "1"): 4, ("b", "0"): 1}, Difference(doubled=3)),
        ({}, Difference(lost=8, excused=2)),
    ):
        assert truth.compare(got) == found
        assert bool(found) == bool(found.lost or found.doubled)


def test_the_worst_window_of_parts_is_found_wherever_it_begins() -> None:
    assert worst_rate([], 10) == 0
    assert worst_rate([5, 5, 9, 14, 15], 10) == 0.4  # 5 to 14
    assert worst_rate([100, 1, 100, 101, 2], 2) == 1.5
