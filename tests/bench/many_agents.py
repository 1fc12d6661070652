"""Many agents at one indexer while everything is restarted in turn: exact, and how long frames wait.

python -m tests.bench.many_agents [--agents 200] [--seconds 600] [--every 20] [--batching journal]
                                  [--only indexer ...] [--strike 0.05 0.25 0.45 0.65]
                                  [--window -0.5 1] [--seed 1]

Agents are simulated in a few processes, each with the agent's own encoder, spool in memory, forwarder and
heartbeats. All of them flush at the same moment, as real ones do: every 10 s a frame of `--series` series of
each type. Indexer, ClickHouse (tests/support/clickhouse_http.py), Redis and API are real processes
that are killed or ended in turn and started again. An acknowledgement takes from the frame's making to the
answer that ends it, outages and retries included. Exit code 1: an answer is not exact, or a frame was lost.

`--window`: restarts strike at a random moment between these seconds after a flush. The longest waits are
those of restarts between a flush and its INSERTs, so the default is worse than any moment (0 10).
`--strike`: these seconds after a flush, in turn, in place of random ones.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from agent.forward.heartbeat_sender import AnswerHandlers, HeartbeatSender
from agent.forward.open_sending import open_sending
from agent.forward.spool.bindings import Bindings
from agent.forward.spool.open_spool import open_bindings
from agent.forward.spool.record import EncodedFrame
from agent.forward.spool.spool import Spool
from agent.runtime.logs import Log
from agent.settings import AgentSettings, ForwardSettings
from agent.wire.frame import Sender, encode
from tests.bench.agent_lines import machine
from tests.faults.actors.processes import House
from tests.support.frames import FrameRows, make_frame

_BUCKET_S: Final = 10
#: How long after a bucket's end agents flush it: `agent.flush.delay_ms`.
_DELAY_S: Final = 0.5
_PROCESSES: Final = 4
_LOGGER: Final = "meterhouse.bench"
_PARTS: Final = ("indexer", "clickhouse", "redis", "api")
#: When restarts strike, before or after a flush.
_WINDOW_S: Final = (-0.5, 1.0)
_DRAIN_S: Final = 120.0
#: How long an answer may take to show stored rows.
_SHOWN_S: Final = 60.0
_TYPES: Final = {
    "c": "sum by (agent) (increase(many_c[2h]))",
    "g": "sum by (agent) (count_over_time(many_g[2h]))",
    "d": "histogram_count(sum by (agent) (increase(many_d[2h])))",
    "s": "sum by (agent) (sum_over_time(many_s[2h]))",
}


class Work(msgspec.Struct, frozen=True):
    """The work of one process: the agents with these numbers, until a time of the wall clock."""

    url: str
    agents: Sequence[int]
    series: int
    until_s: float
    urls: Sequence[str] = ()  # several indexers instead of `url`
    drain_s: float = _DRAIN_S  # how long frames may wait after the end


class Told(msgspec.Struct):
    """Results of one process: (made, acknowledged) of each frame by the wall clock; rows by agent."""

    acknowledged: list[tuple[float, float]]
    rows: dict[str, int]
    dropped: int = 0
    unsent: int = 0


class _TimedSpool(Spool):
    """A spool that notes when frames end."""

    def __init__(
        self, max_bytes: int, note: Callable[[tuple[float, float]], None], bindings: Bindings | None = None
    ) -> None:
        super().__init__(max_bytes, bindings=bindings)
        self._note = note

    def done(self, parcel: EncodedFrame) -> None:
        self._note((parcel.created_ms / 1000, time.time()))
        super().done(parcel)


class SimulatedAgent:
    """One agent without sockets: it makes frames, and sends them as an agent does."""

    def __init__(self, number: int, work: Work, note: Callable[[tuple[float, float]], None]) -> None:
        self.name, self._series, self._drain_s = f"many-{number}", work.series, work.drain_s
        self._sender = Sender(agent=self.name, epoch=time.time_ns())
        many = {"urls": list(work.urls), "connections": 2} if work.urls else {}
        settings = AgentSettings(name=self.name, forward=ForwardSettings(url=work.url, **many))  # type: ignore[arg-type]
        log = Log(_LOGGER)
        self.spool = _TimedSpool(settings.forward.max_unsent_bytes, note, open_bindings(settings))
        sending = open_sending(settings, self.spool, log)
        self.forwarder = sending.forwarder
        now_ms = time.time_ns() // 1_000_000
        self._beats = HeartbeatSender(
            settings.forward, self._sender, self.spool, now_ms, log,
            handlers=AnswerHandlers(open_channel=sending.open_channel),
        )  # fmt: skip
        self._sequence = 0
        self.forwarder.start()
        self._beats.start()

    def flush(self, bucket_s: int) -> int:
        """Make the frame of a bucket; return its rows of each type."""
        self._sequence += 1
        made_ms = time.time_ns() // 1_000_000
        frame = make_frame(
            rows_of_agent(self.name, self._series, bucket_s, self._sequence * self._series),
            agent=self.name,
            epoch=self._sender.epoch,
            sequence=self._sequence,
            created_ms=made_ms,
            flushed_until_ms=(bucket_s + _BUCKET_S) * 1_000,
            lines=4 * self._series,
        )
        data = encode(frame)
        self.spool.put(EncodedFrame(frame.identity, data, frame.rows, self._sequence, frame.lines, made_ms))
        self._beats.flushed((bucket_s + _BUCKET_S) * 1_000, self._sequence)
        return self._series

    def end(self) -> None:
        """Send the rest and say that it ends."""
        self.forwarder.drain(self._drain_s)
        self._beats.stop()


def _hash(member: int) -> int:
    return member * 0x9E37_79B9_7F4A_7C15 % (1 << 64)


def rows_of_agent(agent: str, series: int, bucket_s: int, member: int) -> FrameRows:
    """Return a row of each type and series; sets have members of their own, from `member` on."""
    tags = [{"agent": agent, "k": str(k)} for k in range(series)]
    return FrameRows(
        counters=[("many_c", t, bucket_s, 1.0) for t in tags],
        gauges=[("many_g", t, bucket_s, (bucket_s * 1_000, 1.0, 1.0, 1.0, 1.0, 1.0)) for t in tags],
        distributions=[("many_d", t, bucket_s, [1.0]) for t in tags],
        sets=[("many_s", t, bucket_s, [_hash(member + k)]) for k, t in enumerate(tags)],
    )


def simulate(work: Work, channel: Any, made: Any = None) -> None:
    """Run the agents of one process, and send their results over the channel.

    `made`: a shared number of rows of each type, which is ahead of any answer.
    """
    logging.getLogger(_LOGGER).disabled = True  # each restart is logged by each agent
    told = Told([], {})
    agents = [SimulatedAgent(number, work, told.acknowledged.append) for number in work.agents]
    rows = Counter[str]()
    while True:
        bucket_s = int(time.time() - _DELAY_S) // _BUCKET_S * _BUCKET_S
        due_s = bucket_s + _BUCKET_S + _DELAY_S
        if due_s > work.until_s and rows:
            break
        time.sleep(max(0.0, due_s - time.time()))
        if made is not None:
            with made.get_lock():
                made.value += len(agents) * work.series
        for agent in agents:
            rows[agent.name] += agent.flush(bucket_s)
    for agent in agents:
        agent.end()
        told.unsent += agent.spool.unsent_frames
        told.dropped += agent.spool.dropped_frames + sum(agent.forwarder.dropped_frames.values())
    told.rows = dict(rows)
    channel.send(told)


def strikes_of(args: argparse.Namespace) -> Iterator[float]:
    """Yield the seconds after a flush of each restart."""
    if args.strike:
        parts = len(args.only) or len(_PARTS)
        yield from (strike_s for strike_s in cycle(args.strike) for _ in range(parts))
    rnd = random.Random(args.seed)
    while True:
        yield rnd.uniform(*args.window)


def restart_in_turn(
    house: House, until_s: float, every_s: float, strikes_s: Iterator[float], only: Sequence[str] = ()
) -> list[tuple[float, float, str]]:
    """Restart a part after `every_s`, `strikes_s` after a flush, and so on; return when each was away."""
    parts: list[tuple[str, Callable[[], None], Callable[[], None]]] = [
        ("indexer", house.indexer.kill, house.indexer.start),
        ("ClickHouse", house.clickhouse.kill, house.clickhouse.start),
        ("Redis", house.redis.stop, house.redis.start),
        ("API", house.shim.kill, house.shim.start),
    ]
    parts = [part for part in parts if not only or part[0].lower() in only]
    away: list[tuple[float, float, str]] = []
    while time.time() + every_s + _BUCKET_S < until_s:
        time.sleep(every_s)
        flush_s = (int(time.time()) // _BUCKET_S + 1) * _BUCKET_S + _DELAY_S
        time.sleep(max(0.0, flush_s + next(strikes_s) - time.time()))
        name, end, start = parts[len(away) % len(parts)]
        began_s = time.time()
        end()
        start()
        away.append((began_s, time.time(), name))
        print(f"{name} restarted, {away[-1][1] - began_s:.1f} s away", flush=True)
    return away


def wrong(house: House, rows: dict[str, int]) -> list[str]:
    """Return a text for each agent and type whose answer is not the truth, when it has had time to be."""
    end = time.monotonic() + _SHOWN_S
    while True:
        out: list[str] = []
        for kind, query in _TYPES.items():
            answer = house.api.instant(query, time.time() + 60)
            got = {dict(labels).get("agent", ""): value for labels, value in answer.items()}
            names = sorted(rows.keys() | got.keys())
            out += [
                f"{name} {kind}: {got.get(name, 0):g} of {rows.get(name, 0)}"
                for name in names
                if got.get(name, 0) != rows.get(name, 0)
            ]
        if not out or time.monotonic() > end:
            return out
        time.sleep(1.0)


def percentiles(title: str, waits_s: Sequence[float]) -> str:
    """Return a line with percentiles."""
    if not waits_s:
        return f"{title}: none"
    p50, p99, top = np.percentile(waits_s, (50, 99, 100))
    return f"{title}: {len(waits_s):,} frames, p50 {p50:.2f} s, p99 {p99:.2f} s, max {top:.2f} s"


def print_waits(waits: Sequence[tuple[float, float]], away: Sequence[tuple[float, float, str]]) -> None:
    """Print how long frames waited: all, those that met no restart, and those that met each restart."""
    print(percentiles("all", [done - made for made, done in waits]))
    hit = [any(made < end and begin < done for begin, end, _ in away) for made, done in waits]
    print(percentiles("not met by a restart",
        [done - made for (made, done), met in zip(waits, hit, strict=True) if not met]))  # fmt: skip
    for name, met_s in _by_part(waits, away).items():
        print(percentiles(f"met by restarts of {name}", met_s))
    for begin, end, name in away:
        met = [(made, done) for made, done in waits if made < end and begin < done]
        after = [done - end for _, done in met]
        print(
            percentiles(f"met by {name}, {end - begin:.1f} s away", [done - made for made, done in met]),
            percentiles("of these, from its return on", after).partition(", ")[2],
            sep="; from its return on ",
        )


def _by_part(
    waits: Sequence[tuple[float, float]], away: Sequence[tuple[float, float, str]]
) -> dict[str, list[float]]:
    """Return how long the frames waited that met restarts of each part, and by strike of the same time."""
    out: dict[str, list[float]] = {}
    for begin, end, name in away:
        after_s = (begin - _DELAY_S + _BUCKET_S / 2) % _BUCKET_S - _BUCKET_S / 2
        met = [done - made for made, done in waits if made < end and begin < done]
        for key in (name, f"{name} {after_s:.2f} s after a flush"):
            out.setdefault(key, []).extend(met)
    return out


def run(house: House, args: argparse.Namespace) -> int:
    """Run the agents and restarts, and print the measurements."""
    until_s = time.time() + args.seconds
    context = multiprocessing.get_context("spawn")
    channels, processes = [], []
    for n in range(_PROCESSES):
        ours, theirs = context.Pipe()
        work = Work(house.indexer_url, range(n, args.agents, _PROCESSES), args.series, until_s)
        processes.append(context.Process(target=simulate, args=(work, theirs), daemon=True))
        channels.append(ours)
        processes[-1].start()
    away = restart_in_turn(house, until_s, args.every, strikes_of(args), args.only)
    told: list[Told] = [channel.recv() for channel in channels]
    for process in processes:
        process.join()
    waits = [pair for one in told for pair in one.acknowledged]
    rows = {name: count for one in told for name, count in one.rows.items()}
    print_waits(waits, away)
    errors = wrong(house, rows)
    dropped, unsent = sum(one.dropped for one in told), sum(one.unsent for one in told)
    print(f"{sum(rows.values()) * len(_TYPES):,} rows, {dropped} frames dropped, {unsent} unsent; "
        + ("exact" if not errors else f"NOT exact: {len(errors)}: {errors[:5]}"))  # fmt: skip
    return 1 if errors or dropped or unsent else 0


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.many_agents", description=__doc__)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--series", type=int, default=25)
    parser.add_argument("--every", type=float, default=20.0)
    parser.add_argument("--batching", choices=("frame", "journal"), default="journal")
    parser.add_argument("--only", choices=_PARTS, nargs="*", default=())
    parser.add_argument("--strike", type=float, nargs="*", default=())
    parser.add_argument("--window", type=float, nargs=2, default=_WINDOW_S)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled, too
    print(f"# {machine()}: {' '.join(sys.argv[1:])}", flush=True)
    with tempfile.TemporaryDirectory(prefix="meterhouse-bench-") as name:
        house = House(Path(name), args.batching, own_clocks=False)
        del house.indexer.environ["METERHOUSE_INDEXER__ACKNOWLEDGE_S"]  # its default
        house.indexer.environ["METERHOUSE_INDEXER__BATCH__PARTS_PER_S"] = "10"  # it is alone
        try:
            house.start_without_agent()
            return run(house, args)
        finally:
            house.clear()


if __name__ == "__main__":
    sys.exit(main())
