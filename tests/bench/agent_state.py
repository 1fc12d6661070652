"""Cost of keeping the last values of gauges over a restart.

`python -m tests.bench.agent_state` prints, for gauges that may get deltas: CPU of one write (export,
checksum, file, sync) and of reading it at the start, and the file's size. Medians of some rounds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

from agent.core.saved_gauges import NAME, VERSION
from agent.runtime.state_dir import StateDir
from agent.settings import AgentSettings
from tests.bench.agent_core import BATCH_LINES, NOW_MS, cpu_ns
from tests.support.cores.rows import CORES, new_core


def measure(name: str, gauges: int, rounds: int, folder: Path) -> str:
    """One core's figures at one number of gauges."""
    directory, core = StateDir(str(folder / f"{name}-{gauges}")), new_core(name, AgentSettings())
    for start in range(0, gauges, BATCH_LINES):
        core.add(
            b"\n".join(b"shop.worker.%d.depth:%d|g" % (i, i) for i in range(start, start + BATCH_LINES)),
            NOW_MS,
        )

    def write() -> None:
        directory.write(NAME, VERSION, core.export_last_values(NOW_MS))

    def read() -> None:
        core.import_last_values(directory.read(NAME, VERSION) or b"", NOW_MS)

    writes, reads = ([cpu_ns(work, 1) / 1e6 for _ in range(rounds)] for work in (write, read))
    size = (directory.path / NAME).stat().st_size
    directory.close()
    core.close()
    figures = f"{median(writes):7.1f} ms a write, {median(reads):7.1f} ms a read, {size:>11,} bytes"
    return f"{name:>6} {gauges:>9,} gauges: {figures}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in CORES:
            for gauges in (10_000, 100_000, 500_000):
                print(measure(name, gauges, asked.rounds, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
