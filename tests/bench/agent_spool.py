"""CPU that the agent's spool adds per line while nothing fails: paired windows, with an interval.

    python -m tests.bench.agent_spool [--rounds 10] [--workloads 2,3] [--before TREE] [--checkpoint-ms 1000]

The windows are those of tests/bench/agent_lines.py: traffic for a flush interval, then 10 s in which CPU is
read, a flush included. An agent with `agent.spool.path` and one without get the same traffic side by side,
so that the machine's speed is the same for both; each pair gives a ratio. Printed are the geometric mean of
the ratios and its 95 % interval (Student's t over their logarithms). `--checkpoint-ms` measures checkpoints
instead. `--before` names another tree, built, whose agent has its turn, too: the difference is the cost of
the count of lines per row. Fails when a frame was written to disk: then something was slow, and the figures
are of another question.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.bench.agent_lines import FLUSH_S, WORKLOADS, Run, Workload, machine
from tests.bench.agent_load import Programs, prefix_of
from tests.bench.agent_servers import Agent, Server, Sinks

#: Student's t for 95 %, two sides, by degrees of freedom; larger ones are nearly the last.
_T: Final = (0.0, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)
#: Tries of a window in which packets were lost.
_TRIES: Final = 5


class Spooling(Agent):
    """Settings of a spool on disk."""

    name = "agent with spool"

    def command(self) -> tuple[list[str], dict[str, str]]:
        self.tables = ["[agent.spool]", f'path = "{self.folder / "spool"}"']
        return super().command()

    def check(self) -> None:
        super().check()
        assert self.metric("spool_written_frames_total") == 0, "frames were written: something was slow"


class Checkpointing(Agent):
    """Settings of a spool on disk with checkpoints."""

    name = "agent with checkpoints"
    checkpoint_ms = 0

    def command(self) -> tuple[list[str], dict[str, str]]:
        spool = self.folder / "spool"
        self.tables = ["[agent.spool]", f'path = "{spool}"', f"checkpoint_ms = {self.checkpoint_ms}"]
        return super().command()


class Before(Agent):
    """Of another tree."""

    name = "agent before"
    tree = ""

    def command(self) -> tuple[list[str], dict[str, str]]:
        (python, _, *rest), environ = super().command()
        return [python, f"{self.tree}/meterhouse.py", *rest], environ | {"PYTHONPATH": self.tree}


def interval(pairs: Sequence[tuple[float, float]]) -> str:
    """Return the mean ratio of pairs and its 95 % interval, as percent added."""
    logs = [math.log(one / other) for one, other in pairs]
    half = _T[min(len(logs) - 1, len(_T) - 1)] * statistics.stdev(logs) / math.sqrt(len(logs))
    low, mean, high = (100 * (math.exp(statistics.mean(logs) + d) - 1) for d in (-half, 0.0, half))
    return f"{mean:+.1f} % ({low:+.1f} .. {high:+.1f} %, {len(pairs)} pairs)"


def windows(run: Run, servers: Sequence[Server]) -> list[float]:
    """CPU seconds per million lines of each server, side by side in a window without a lost packet."""
    for _ in range(_TRIES):
        with ThreadPoolExecutor(len(servers)) as threads:
            measured = list(threads.map(run.window, servers))
        if not any(lost for _, lost in measured):
            return [used for used, _ in measured]
    raise RuntimeError(f"packets were lost in {_TRIES} windows")


def measure(
    programs: Programs, workload: Workload, kinds: Sequence[type[Agent]], rounds: int, nice: int
) -> None:
    """Print the cost of the first kind, and the addition of each other one."""
    sinks = Sinks()
    used: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="meterhouse-bench-") as name:
        run = Run(programs, Path(name), workload, 1.0, prefix_of(nice))
        running = [kind(Path(name), programs, sinks, prefix_of(nice)) for kind in kinds]
        try:
            for server in running:
                server.start()
                run.warm_up(server)
            run.prepare(running[0])
            time.sleep(FLUSH_S + 2)
            for number in range(rounds):
                turn = running if number % 2 else running[::-1]
                for server, cpu_s in zip(turn, windows(run, turn), strict=True):
                    used[server.name].append(cpu_s)
            rows = {server.name: server.metric("sent_rows_total") for server in running}
        finally:
            for server in running:
                server.stop()
            sinks.close()
    base = used[kinds[0].name]
    print(
        f"{workload.name}, {workload.series:,} series: {statistics.median(base):.3f} CPU s per million lines"
    )
    for kind in kinds[1:]:
        pairs = list(zip(used[kind.name], base, strict=True))
        more = rows[kind.name] / rows[kinds[0].name]
        print(
            f"  {kind.name:18} against {kinds[0].name}: {interval(pairs)}, {more:.2f}x the rows", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.agent_spool", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--workloads", default="2,3", help="as of agent_lines")
    parser.add_argument("--before", default="", help="a tree with another agent, built")
    parser.add_argument("--checkpoint-ms", type=int, default=0, help="of the second agent")
    parser.add_argument("--nice", type=int, default=0)
    args = parser.parse_args()
    print(f"# {machine()}: {' '.join(sys.argv[1:])}", flush=True)
    Before.tree = args.before
    kinds: list[type[Agent]] = [Before] if args.before else []
    Checkpointing.checkpoint_ms = args.checkpoint_ms
    kinds += [Agent, Checkpointing] if args.checkpoint_ms else [Agent, Spooling]
    programs = Programs()
    for number in map(int, args.workloads.split(",")):
        measure(programs, WORKLOADS[number], kinds, args.rounds, args.nice)


if __name__ == "__main__":
    main()
