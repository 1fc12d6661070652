"""Each fault: how it begins and how it is healed. A row of docs/reliability.md has its result."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from tests.e2e.product import send_tcp, wait_for
from tests.faults.actors.clients import Messenger
from tests.faults.actors.entrance import PATIENT_S, Entrance
from tests.faults.actors.processes import House
from tests.faults.actors.up import UpHouse
from tests.faults.proxy import Mode, Proxy
from tests.faults.truth import Truth

#: Where an agent sends frames.
FRAME_PATHS: Final = ("/v1/frames", "/v1/bundles")
#: Series whose rows do not fit into a page of a disk.
_MANY: Final = 300


Kind = Literal["parts", "up"]


class Scene(msgspec.Struct, frozen=True):
    """Where a fault happens: in a house of parts, or of `meterhouse up`."""

    entrance: Entrance
    truth: Truth
    messenger: Messenger

    @property
    def house(self) -> House:
        """The house of parts."""
        assert isinstance(self.entrance, House)
        return self.entrance

    @property
    def up(self) -> UpHouse:
        """The house of `meterhouse up`."""
        assert isinstance(self.entrance, UpHouse)
        return self.entrance

    def wait_until_stored(self) -> None:
        """Return when nothing is under way."""
        self.entrance.wait_until_promised(acknowledged=True)
        self.messenger.wait(PATIENT_S)


Act = Callable[[Scene], None]
#: Say why a fault cannot happen on this machine; empty: it can.
Missing = Callable[[Entrance], str]


class Fault(msgspec.Struct, frozen=True):
    """The actions between `begin` and `heal`; with `agent_away` nothing is sent to the agent then."""

    begin: Act
    heal: Act
    agent_away: bool = False
    kind: Kind = "parts"
    missing: Missing = lambda _: ""


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
    """Return a fault of requests between agent and indexer."""

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
    """Return a fault of statements between indexer and ClickHouse."""
    return Fault(lambda s: s.house.to_store.set(mode), _heal_store)


def _die_between(scene: Scene) -> None:
    """Lose the answers of INSERTs: the indexer dies waiting for one."""
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


def _wait_for_another(scene: Scene, counter: str) -> None:
    """Return when the agent has met the fault once more."""
    metrics = scene.entrance.agent_metrics  # empty where the agent is slow to answer
    before = wait_for(lambda: metrics().get(counter), f"the agent shows {counter}", PATIENT_S)
    wait_for(lambda: metrics().get(counter, 0) > before, f"{counter} > {before}", PATIENT_S)


def _no_small_disk(entrance: Entrance) -> str:
    return "" if entrance.disk.small else "no rights to mount a tmpfs"


def _fill_spool(scene: Scene) -> None:
    """Nothing can be sent, and nothing can be written: frames stay in memory."""
    house = scene.house
    house.to_indexer.set(Mode("cut"))  # first: a file whose frames are sent is deleted
    house.disk.fill()
    # A frame of more than a page: a smaller one may fit into the last page of a file that is there.
    house.sent_lines += _MANY
    send_tcp(house.tcp, (f"faults.many:1|c|#n:{n:064}" for n in range(_MANY)))


def _empty_spool(scene: Scene) -> None:
    _wait_for_another(scene, "spool_write_errors_total")
    scene.house.disk.empty()
    scene.house.to_indexer.set(Mode())


def _no_network(entrance: Entrance) -> str:
    there = isinstance(entrance, House) and entrance.network.there
    return "" if there else "no rights to make a network namespace"


def _heal_network(scene: Scene) -> None:
    _wait_for_another(scene, "send_retries_total")
    scene.house.network.heal()


def _no_clocks(entrance: Entrance) -> str:
    return (
        "" if isinstance(entrance, House) and entrance.clocks else "no libfaketime: apt-get install faketime"
    )


def _clocks(agent_s: int, indexer_s: int) -> Fault:
    """Step the wall clocks of agent and indexer while they run, and put them right."""

    def step(*offsets_s: int) -> Act:
        def act(scene: Scene) -> None:
            for clock, offset_s in zip(scene.house.clocks, offsets_s, strict=True):
                clock.step_to(offset_s)

        return act

    def heal(scene: Scene) -> None:
        scene.wait_until_stored()
        step(0, 0)(scene)

    return Fault(step(agent_s, indexer_s), heal, missing=_no_clocks)


def _kill_up(scene: Scene) -> None:
    """Kill it when its agent has read all lines; the orphaned agent spools the lines it holds."""
    scene.up.wait_until_received()
    scene.up.up.kill()


def _kill_child(scene: Scene) -> None:
    """Kill it when it has read all lines: others may be read by the next one."""
    scene.up.wait_until_received()
    scene.truth.risk()
    scene.up.kill_agent()


def _fill_journal(scene: Scene) -> None:
    scene.wait_until_stored()
    scene.up.checkpoint_journal()
    scene.up.disk.fill()


def _empty_journal(scene: Scene) -> None:
    wait_for(lambda: scene.up.indexer_ready()[0] == 503, "the indexer met the full disk", PATIENT_S)
    scene.up.disk.empty()


def _kill_up_at_rest(scene: Scene) -> None:
    """All is stored: the journal holds nothing but identities then."""
    scene.wait_until_stored()
    scene.up.up.kill()


def _damaged(damage: Callable[[bytearray], None]) -> Fault:
    """Damage the journal while nothing runs: `up` says so and ends, and a person deletes the journal."""

    def heal(scene: Scene) -> None:
        up = scene.up
        up.checkpoint_journal()
        data = bytearray(up.journal.read_bytes())
        damage(data)
        up.journal.write_bytes(data)
        process = up.up.launch()
        wait_for(up.up.ended, "up does not start with a damaged journal", PATIENT_S)
        assert str(up.journal) in process.output, process.output
        up.remove_journal()
        up.restart()

    return Fault(_kill_up_at_rest, heal, agent_away=True, kind="up")


def _flip_bits(data: bytearray) -> None:
    """In identities of stored frames, which would count again if that were not noticed."""
    for number, found in enumerate(re.finditer(rb"/\d{10,}/\d", data)):
        data[found.start() + 1 + number % 10] ^= 1


def _cut_in_half(data: bytearray) -> None:
    del data[len(data) // 2 :]


#: Faults that `make faults` alone runs: CI has another one of their kind.
LONG_RUN_ONLY: Final = frozenset(
    {
        *(
            "clickhouse_stopped",
            "link_delayed",
            "link_reordered",
            "store_cut",
            "store_password",
            "store_slow",
        ),
        *("indexer_stopped", "link_cut", "network_cut", "store_missing", "up_journal_flipped"),
        # Not in CI: lines that are sent as a step is put right may be at another time (docs/reliability.md).
        *("agent_clock_ahead", "clocks_back"),
    }
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
    "spool_full": Fault(_fill_spool, _empty_spool, missing=_no_small_disk),
    "network_cut": Fault(lambda s: s.house.network.cut(), _heal_network, missing=_no_network),
    "agent_clock_ahead": _clocks(2 * 86_400, 0),
    "clocks_back": _clocks(-3_600, -3_600),
    "up_killed": Fault(_kill_up, lambda s: s.up.restart(), agent_away=True, kind="up"),
    "up_agent_killed": Fault(_kill_child, lambda _: None, kind="up"),
    "up_journal_full": Fault(_fill_journal, _empty_journal, kind="up", missing=_no_small_disk),
    "up_journal_flipped": _damaged(_flip_bits),
    "up_journal_truncated": _damaged(_cut_in_half),
}  # fmt: skip
