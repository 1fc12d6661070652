"""Recording rules over the past: each tick once, the same as live, in parts, in the order of dependencies."""

from __future__ import annotations

from pathlib import Path

import pytest

from shim.model.errors import BadData, ExecutionError
from shim.rules import rule_backfill
from shim.rules.rule_backfill import RuleBackfill, in_order
from shim.rules.rule_evaluator import RuleEvaluator
from tests.integration.shim.test_rule_evaluation import RECORD, T, World, pipeline, w

__all__ = ["pipeline", "w"]

SUM = """
groups:
- name: a-reads-all
  interval: 1m
  rules: [{record: all:hits, expr: "sum(job:hits:increase1m)"}]
"""


@pytest.fixture(autouse=True)
def _parts_as_long_as_ticks_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_backfill, "_MAX_S", 600.0)  # a busy machine may take longer than 5 s


async def loaded(w: World, second: float) -> RuleEvaluator:
    """Return a shim that was started some seconds after T, and has loaded its files."""
    w.now_s = T + second
    shim = w.shim()
    await shim.reload()
    return shim


async def whole(work: RuleBackfill) -> list[tuple[int, int, int, int]]:
    """Return stored, known, done and total of each call until the end."""
    found, at = [], None
    while True:
        part = await work.run(at)
        found.append((part.stored, part.known, part.done, part.total))
        if (at := part.next) is None:
            return found


async def test_the_past_is_stored_once_and_as_it_is_live(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    w.write(RECORD)
    live = await loaded(w, 0)
    for minute in range(1, 6):
        await w.at(live, 60 * minute + 59)
    as_live = dict(w.bodies)
    w.bodies.clear()
    w.empty("_(10s|60s|1h|1d)$")
    w.pipeline.send([f"hits:{1 + n % 2}|c|#a:{n % 2}|T{T + 10 * n}" for n in range(180)])

    shim = await loaded(w, 1_500)
    monkeypatch.setattr(rule_backfill, "_MAX_TICKS", 4)
    ticks = RuleBackfill(list(shim.runners.values()), T, T + 360)
    assert [part[2:] for part in await whole(ticks)] == [(4, 6), (6, 6)]
    assert {key: w.bodies[key] for key in as_live.keys() & w.bodies.keys()} == {
        key: as_live[key] for key in as_live.keys() & w.bodies.keys()
    }
    assert len(as_live.keys() & w.bodies.keys()) >= 4
    first = dict(w.bodies)
    await whole(ticks)
    assert w.bodies == first  # the same bytes under the same keys
    at = max(int(key.split("/")[2]) for key in w.bodies)
    assert sorted(w.at_tick("job:hits:double", at - T).values()) == [6, 12]
    assert sorted(w.at_tick("job:hits:max", at - T).values()) == [3, 6]


async def test_groups_come_after_those_that_they_read(w: World) -> None:
    w.write(RECORD)
    (Path(w.rules) / "a.yml").write_text(SUM)
    shim = await loaded(w, 1_500)
    runners = sorted(shim.runners.values(), key=lambda runner: runner.group.file)
    assert [runner.group.name for runner in runners] == ["a-reads-all", "g"]
    assert [runner.group.name for runner in in_order(runners)] == ["g", "a-reads-all"]
    await whole(RuleBackfill(runners, T, T + 600))
    at = T + 599
    assert list(w.at_tick("all:hits", at - T).values()) == [9]


async def test_no_tick_of_the_present_is_evaluated(w: World) -> None:
    w.write(RECORD)
    shim = await loaded(w, 100)
    [(_, _, done, total)] = await whole(RuleBackfill(list(shim.runners.values()), T, T + 1_000))
    assert done == total <= 2
    with pytest.raises(BadData, match=r"next: no group 'x' of 'r\.yml'"):
        await RuleBackfill(list(shim.runners.values()), T, T + 1_000).run(("r.yml", "x", T))


async def test_a_rule_that_fails_stops_it_or_is_left_out(w: World) -> None:
    rules = '[{record: x, expr: "hits * on () group_left hits"}, {record: y, expr: "1"}]'
    w.write(f"groups:\n- name: g\n  interval: 1m\n  rules: {rules}\n")
    shim = await loaded(w, 1_500)
    runners = list(shim.runners.values())
    with pytest.raises(ExecutionError, match=r"group r.yml;g, rule x, tick \d+: "):
        await whole(RuleBackfill(runners, T + 300, T + 600))
    assert w.bodies == {}
    assert (await whole(RuleBackfill(runners, T + 300, T + 600, skip_failed=True)))[0][0] == 5
    assert w.at_tick("y", 600) != {}
