"""The agent's memory by live series, and the cost of a sidecar installation to start and to keep.

    python -m tests.bench.agent_memory [--series 0,1000,100000,1000000] [--lines 1] [--core native]
        [--skip-install]

Memory: resident bytes of a `meterhouse agent` while all series come in one bucket, again in the next two, and
their frames are sent: the highest seen, and the level after a while without lines. `--lines 15`: a series
comes that often in a bucket, drawn at random, without a pause, so that two buckets are open together for as
long as a flush waits. Start: a fresh venv
with `pip install .` and no extras, CPU of the process until /readyz answers, medians of ten; then its idle
memory.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.bench.agent_lines import FLUSH_S, ROOT, machine
from tests.bench.agent_load import PACKED_BYTES, Programs, Sender, each_once, mixed, prefix_of, write_packets
from tests.bench.agent_servers import Agent, Sinks

_LINES_PER_S: Final = 150_000
_BUCKETS: Final = 3
_STARTS: Final = 10


def _mib(size_bytes: int) -> float:
    return size_bytes / 2**20


class Memory:
    """Resident bytes of one agent over time."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.highest = 0

    def watch(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.highest = max(self.highest, self._agent.rss_bytes())
            time.sleep(0.02)


class Load:
    """Lines sent to an agent while its memory is watched."""

    def __init__(self, agent: Agent, programs: Programs, series: int, prefix: list[str]) -> None:
        self.seen = Memory(agent)
        self._agent = agent
        self._programs = programs
        self._series = series
        self._prefix = prefix

    def _sender(self, lines: Iterator[bytes], lines_per_s: float, **how: float) -> Sender:
        path = write_packets(self._programs.folder / "packets", lines, PACKED_BYTES)
        time.sleep((0.7 - time.time()) % FLUSH_S)  # the flush before this is under way
        return Sender(self._programs, path, str(self._agent.udp_port), lines_per_s=lines_per_s,
                      prefix=self._prefix, **how)  # type: ignore[arg-type] # fmt: skip

    def each_once(self) -> None:
        """Each series once in a bucket, and a pause."""
        sender = self._sender(each_once(self._series), _LINES_PER_S, passes=1)
        self.seen.watch(self._series / _LINES_PER_S + 0.2)
        sender.wait(60)

    def steadily(self, lines: int) -> None:
        """All the time, `lines` of each series in a bucket."""
        packets = itertools.chain(each_once(self._series), mixed(9 * self._series, self._series))
        seconds = _BUCKETS * FLUSH_S
        sender = self._sender(packets, lines * self._series / FLUSH_S, seconds=seconds)
        self.seen.watch(seconds)
        sender.wait(60)

    def send(self, lines: int) -> None:
        for i in range(_BUCKETS if lines == 1 else 1):
            self.each_once() if lines == 1 else self.steadily(lines)
            print(f"#   {i}: {self._agent.metric('live_series'):,.0f} series live, "
                  f"{self._agent.kernel_drops()} packets lost, "
                  f"{_mib(self._agent.rss_bytes()):.1f} MiB")  # fmt: skip


def memory(series: int, lines: int, core: str, quiet_s: float, prefix: list[str]) -> None:
    """Print one line: resident memory with this number of live series."""
    programs, sinks = Programs(), Sinks()
    agent = Agent(programs.folder, programs, sinks, prefix)
    agent.core = core
    if series * 1.1 > 500_000:
        agent.tables = ["[agent.aggregate]", f"max_series = {series * 2}", f"max_entries = {series * 8}"]
    agent.start()
    try:
        load = Load(agent, programs, series, prefix)
        load.seen.watch(2.0)
        if series:
            load.send(lines)
        load.seen.watch(2 * FLUSH_S if series else 1.0)
        after = agent.rss_bytes()
        time.sleep(quiet_s)
        print(f"{series:10,} series: highest {_mib(load.seen.highest):7.1f} MiB, after sending "
              f"{_mib(after):7.1f}, {quiet_s:.0f} s later {_mib(agent.rss_bytes()):7.1f}",
              flush=True)  # fmt: skip
    finally:
        agent.stop()
        sinks.close()
        programs.close()


class Installed(Agent):
    """An agent from a venv of its own."""

    program: list[str] = []  # noqa: RUF012 - set once, below

    def command(self) -> tuple[list[str], dict[str, str]]:
        command, environ = super().command()
        return [*self.program, *command[command.index("agent") :]], environ


def sidecar() -> None:
    """Print CPU to start, and idle memory, of `pip install .` without extras."""
    programs, sinks = Programs(), Sinks()
    home = Path(tempfile.mkdtemp(dir=programs.folder))
    venv.create(home / "venv", with_pip=True)
    python = home / "venv" / "bin" / "python"
    source = home / "source"  # a build leaves files, which must not be in the tree
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", str(source)], check=True
    )
    Installed.program = [str(home / "venv" / "bin" / "meterhouse")]
    size = sum(
        at.stat().st_size for at in (home / "venv" / "lib").rglob("*") if at.is_file() and not at.is_symlink()
    )
    try:
        cpu_ms, idle, core = [], [], ""
        for _ in range(_STARTS):
            agent = Installed(programs.folder, programs, sinks)
            agent.start()
            cpu_ms.append(agent.cpu_s() * 1000)
            time.sleep(1.0)
            idle.append(_mib(agent.rss_bytes()))
            core = "native" if "core=native" in (agent.folder / "output").read_text() else "Python"
            agent.stop()
        print(f"sidecar: {statistics.median(cpu_ms):.0f} ms of CPU to start "
              f"({min(cpu_ms):.0f}-{max(cpu_ms):.0f}), {core} core, idle {statistics.median(idle):.1f} MiB, "
              f"site-packages {_mib(size):.0f} MiB with pip")  # fmt: skip
        bare = [_bare_start(python) for _ in range(_STARTS)]
        print(f"floor: `python -c pass` {statistics.median(bare):.0f} ms")
    finally:
        sinks.close()
        programs.close()


def _bare_start(python: Path) -> float:
    """CPU of an interpreter that does nothing, in ms."""
    before = os.times()
    subprocess.run([python, "-c", "pass"], check=True)
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    ) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", default="0,1000,100000,1000000")
    parser.add_argument("--lines", type=int, default=1, help="of a series in a bucket (default %(default)s)")
    parser.add_argument("--core", default="", help="auto, native, python")
    parser.add_argument("--quiet-s", type=float, default=5.0, help="pause before the last look")
    parser.add_argument("--nice", type=int, default=0, help="priority of agent and sender, -20 to 19")
    parser.add_argument("--skip-install", action="store_true")
    args = parser.parse_args()
    print(machine())
    for series in filter(None, args.series.split(",")):
        memory(int(series), args.lines, args.core, args.quiet_s, prefix_of(args.nice))
    if not args.skip_install:
        sidecar()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
