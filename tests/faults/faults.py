"""Each fault: how it begins and how it is healed. A row of docs/reliability.md has its result."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from tests.e2e.product import wait_for
from tests.faults.actors.processes import PATIENT_S, House
from tests.faults.proxy import Mode, Proxy
from tests.faults.truth import Truth

#: Where an agent sends frames.
FRAME_PATHS: Final = ("/v1/frames", "/v1/bundles")


class Scene(msgspec.Struct, frozen=True):
    """Where a fault happens."""

    house: House
    truth: Truth


Act = Callable[[Scene], None]


class Fault(msgspec.Struct, frozen=True):
    """What happens between `begin` and `heal`; with `agent_away` nothing is sent to the agent then."""

    begin: Act
    heal: Act
    agent_away: bool = False


def _kill_agent(scene: Scene) -> None:
    """Kill the agent while it may hold lines that are in no frame."""
    scene.house.agent.kill()
    scene.truth.risk()


def _start_agent(scene: Scene) -> None:
    scene.house.start_agent()


def _kill_agent_in_an_outage(scene: Scene) -> None:
    """Promise by the spool alone, then kill."""
    scene.house.to_indexer.set(Mode("cut"))
    scene.house.wait_until_promised()
    scene.truth.promise_agent()
    _kill_agent(scene)


def _heal_outage(scene: Scene) -> None:
    scene.house.to_indexer.set(Mode())
    scene.house.start_agent()


def _link(mode: Mode) -> Fault:
    """Requests between agent and indexer."""

    def heal(scene: Scene) -> None:
        _wait_struck(scene.house.to_indexer, FRAME_PATHS)
        scene.house.to_indexer.set(Mode())

    return Fault(lambda s: s.house.to_indexer.set(mode), heal)


def _heal_store(scene: Scene) -> None:
    _wait_struck(scene.house.to_store, ("/",))
    scene.house.to_store.set(Mode())


def _wait_struck(proxy: Proxy, paths: Sequence[str]) -> None:
    """Return when a request has met the fault: healed before that, it would show nothing."""
    wait_for(lambda: any(proxy.struck[path] for path in paths), f"{paths} met the fault", PATIENT_S)


def _store(mode: Mode) -> Fault:
    """Statements between indexer and ClickHouse."""
    return Fault(lambda s: s.house.to_store.set(mode), _heal_store)


def _die_between(scene: Scene) -> None:
    """The answer of an INSERT does not arrive, and the indexer dies waiting for it."""
    scene.house.to_store.set(Mode("lose", match=b"INSERT"))


def _die(scene: Scene) -> None:
    _wait_struck(scene.house.to_store, ("/",))
    scene.house.indexer.kill()
    scene.house.to_store.set(Mode())
    scene.house.indexer.start()


def _stop(name: str) -> Fault:
    def send(number: int) -> Act:
        return lambda s: getattr(s.house, name).signal(number)

    return Fault(send(signal.SIGSTOP), send(signal.SIGCONT))


def _kill(name: str) -> Fault:
    return Fault(lambda s: getattr(s.house, name).kill(), lambda s: getattr(s.house, name).start())


def _empty_redis(scene: Scene) -> None:
    scene.house.redis.start()


#: Faults that `make faults` alone runs: CI has another one of their kind.
LONG_RUN_ONLY: Final = frozenset(
    {"clickhouse_stopped", "link_delayed", "link_reordered", "store_cut", "store_password", "store_slow"}
)

FAULTS: Final[dict[str, Fault]] = {
    "agent_killed": Fault(_kill_agent, _start_agent, agent_away=True),
    "agent_killed_in_an_outage": Fault(
        _kill_agent_in_an_outage,
        _heal_outage,
        agent_away=True,
    ),
    "agent_stopped": _stop("agent"),
    "indexer_killed": _kill("indexer"),
    "indexer_stopped": _stop("indexer"),
    "clickhouse_killed": _kill("clickhouse"),
    "clickhouse_stopped": _stop("clickhouse"),
    "link_cut": _link(Mode("cut")),
    "link_answers_lost": _link(Mode("lose")),
    "link_doubled": _link(Mode("double")),
    "link_reordered": _link(Mode("reorder")),
    "link_delayed": _link(Mode("delay", seconds=0.7)),
    "store_cut": _store(Mode("cut")),
    "store_answers_lost": _store(Mode("lose", match=b"INSERT")),
    "store_answers_lost_and_indexer_killed": Fault(_die_between, _die),
    "store_slow": _store(Mode("delay", seconds=0.5)),
    "store_memory": _store(Mode("refuse", status=500, code=241)),
    "store_password": _store(Mode("refuse", status=403, code=516)),
    "store_missing": _store(Mode("refuse", status=404, code=60)),
    "redis_gone": Fault(lambda s: s.house.redis.stop(), _empty_redis),
    "redis_hangs": Fault(
        lambda s: s.house.redis.signal(signal.SIGSTOP), lambda s: s.house.redis.signal(signal.SIGCONT)
    ),
}  # fmt: skip
