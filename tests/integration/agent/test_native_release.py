"""Memory of the native core that is not needed any more leaves the process.

Not among the tests that run under sanitizers: their allocators keep freed memory, to see it used again.
"""

from __future__ import annotations

import subprocess
import sys

#: In a process of its own, since others leave memory that can be used again.
RELEASE = """
from pathlib import Path
from agent.wire.frame import Sender
from agent.core._native.core import NativeCore
from agent.settings import AgentSettings, AggregateSettings

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

core = NativeCore(AgentSettings(aggregate=AggregateSettings(gauge_memory_s=60)))
sender = Sender(agent="a", epoch=1)
before = resident_bytes()
for i in range(60):
    core.add(b"\\n".join(b"x.%d.%d:1|c|#host:web-%d" % (i, j, j) for j in range(1_000)), 10**12)
core.flush_all(10**12)
while core.next_frame(sender, 1, 1, max_rows=5_000, max_bytes=1 << 22):
    pass
held = resident_bytes() - before
for second in range(0, 200, 10):
    core.add(b"other:1|c", 10**12 + second * 1000)
for _ in range(300):
    core.flush(0)  # a part is looked at with each
print(held, resident_bytes() - before, core.memory_bytes)
"""


def test_released_memory_leaves_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", RELEASE], capture_output=True, text=True, check=True)
    held, left, known = map(int, done.stdout.split())
    assert held > 60_000 * 150
    assert left < held // 2
    assert known < 1 << 20
