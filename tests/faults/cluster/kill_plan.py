"""The seeded plan of a run: which process is killed or started when, and the state of Redis. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

RedisMode = Literal["always", "half", "foreign"]
Action = Literal["kill", "start", "foreign", "die", "release"]

REDIS: Final = "redis"
#: Seconds that a killed process stays away, at most. Agents look for another indexer after 10 s.
_AWAY_S: Final[Mapping[str, float]] = {"indexer": 25.0, "shim": 5.0, "agent": 5.0, REDIS: 5.0}
#: How often each kind is drawn.
_WEIGHTS: Final[Mapping[str, int]] = {"indexer": 4, "shim": 2, "agent": 4, REDIS: 1}
#: Seconds for which a Redis is there or gone, and between two values or refusals of another program.
_HALF_S: Final = (3.0, 15.0)
_FOREIGN_S: Final = (1.0, 6.0)
_MIN_AWAY_S: Final = 0.2
#: The part of a run after which an indexer dies for good.
_DIES_AT: Final = 0.7
#: Shorter runs have no such indexer; nothing else happens to it for so long before.
_MIN_DYING_S: Final = 60.0
_ALONE_S: Final = 5.0


class Event(msgspec.Struct, frozen=True):
    """One action: on a process by its name, or a kind of foreign values; `at_s` since the start.

    An indexer that dies stays away; `release` is the operator's command to the agents that hold its frames,
    which follows the death.
    """

    at_s: float
    action: Action
    name: str


def plan(
    seed: int, seconds: float, every_s: float, names: Sequence[str], redis: RedisMode, kinds: Sequence[str]
) -> list[Event]:
    """Return the events in order. A name is a kind and a number, `indexer 1`; no process is killed twice.

    A process that is away at the end is started by the caller.
    """
    rnd = random.Random(seed)
    events = list(_kills(rnd, seconds, every_s, [*names, *([REDIS] if redis == "always" else ())]))
    if redis == "half":
        events += _half(rnd, seconds)
    if redis == "foreign":
        events += _foreign(rnd, seconds, kinds)
    indexers = [name for name in names if name.startswith("indexer ")]
    if seconds >= _MIN_DYING_S and len(indexers) > 1:
        events = _with_death(events, rnd.choice(indexers), _DIES_AT * seconds)
    return sorted(events, key=lambda event: event.at_s)


def _kills(rnd: random.Random, seconds: float, every_s: float, names: Sequence[str]) -> Iterator[Event]:
    by_kind: dict[str, list[str]] = {}
    for name in names:
        by_kind.setdefault(name.partition(" ")[0], []).append(name)
    weights = [_WEIGHTS[kind] for kind in by_kind]
    back_s = dict.fromkeys(names, 0.0)
    at_s = every_s
    while at_s < seconds:
        (kind,) = rnd.choices(list(by_kind), weights)
        name = rnd.choice(by_kind[kind])
        if back_s[name] <= at_s:
            longest_s = min(_AWAY_S[kind], seconds / 4)
            back_s[name] = at_s + rnd.uniform(_MIN_AWAY_S, max(_MIN_AWAY_S, longest_s))
            yield Event(at_s, "kill", name)
            yield Event(back_s[name], "start", name)
        at_s += rnd.uniform(0.5, 1.5) * every_s


def _with_death(events: Sequence[Event], name: str, at_s: float) -> list[Event]:
    """Return events with the death of an indexer, and without those of it that are not over before."""
    starts = [event.at_s for event in events if event.name == name and event.action == "start"]
    over_s = max((start_s for start_s in starts if start_s <= at_s - _ALONE_S), default=0.0)
    others = [event for event in events if event.name != name or event.at_s <= over_s]
    return [*others, Event(at_s, "die", name)]


def _half(rnd: random.Random, seconds: float) -> Iterator[Event]:
    at_s = 0.0
    while at_s < seconds:
        each_s = min(rnd.uniform(*_HALF_S), seconds / 4)
        yield Event(at_s, "kill", REDIS)
        yield Event(at_s + each_s, "start", REDIS)
        at_s += 2 * each_s


def _foreign(rnd: random.Random, seconds: float, kinds: Sequence[str]) -> Iterator[Event]:
    at_s, drawn = 1.0, list[str]()
    while at_s < seconds:
        drawn = drawn or rnd.sample(kinds, len(kinds))
        yield Event(at_s, "foreign", drawn.pop())
        at_s += min(rnd.uniform(*_FOREIGN_S), seconds / 4)
