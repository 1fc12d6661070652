"""The load of the agent's benchmarks: StatsD packets of the mix, and a sender in C that paces them.

Owns the lines (design/ingest.md: 50 % counters, 20 % timers with random floats, 20 % gauges, 10 % sets, three
tags each), the building of the C programs beside this file, and the counters they share with us.
"""

from __future__ import annotations

import mmap
import random
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
PACKED_BYTES: Final = 1_432
_SLOTS: Final = 8
_STOP: Final = 7
_TICK_US: Final = 500


def prefix_of(nice: int, core: int | None = None) -> list[str]:
    """Return the command in front of another that begins a session: its priority, and the core it may use.

    Linux shares the CPU among sessions first (autogroup), so `nice` alone would do nothing beside others.
    """
    first = ["sh", "-c", f'echo {nice} >/proc/self/autogroup; exec nice -n {nice} "$@"', "sh"] if nice else []
    return first + ([] if core is None else ["taskset", "-c", str(core)])


class Programs:
    """The C programs of the benchmarks, built with `cc` into a folder that lives as long as this."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="meterhouse-bench-")
        self.folder = Path(self._folder.name)
        for name in ("send", "floor", "queue"):
            self._build(name, [])
        self._build("buffer", ["-shared", "-fPIC"])

    def __getitem__(self, name: str) -> str:
        return str(self.folder / f"agent_{name}")

    def _build(self, name: str, flags: list[str]) -> None:
        source = HERE / f"agent_{name}.c"
        subprocess.run(["cc", "-O2", "-Wall", *flags, "-o", self[name], str(source), "-ldl"], check=True)

    def close(self) -> None:
        self._folder.cleanup()


class Shared:
    """Eight numbers in a file that a C program and we both map."""

    def __init__(self, folder: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(bytes(8 * _SLOTS))
            file.flush()
            self.path = file.name
            self._map = mmap.mmap(file.fileno(), 8 * _SLOTS)

    def __getitem__(self, slot: int) -> int:
        value: int = struct.unpack_from("<Q", self._map, 8 * slot)[0]
        return value

    def __setitem__(self, slot: int, value: int) -> None:
        struct.pack_into("<Q", self._map, 8 * slot, value)


def line(rng: random.Random, i: int, tagged: bool) -> bytes:
    """Return a line of series `i`; without tags the same words are in a plain name, as long."""
    kind = i % 10  # each series has one type
    if kind < 5:
        name, value = "api.requests.count", "1|c"
    elif kind < 7:
        name, value = "api.request.duration", f"{rng.uniform(0.1, 900):.3f}|ms"
    elif kind < 9:
        name, value = "process.resident.memory", f"{rng.randrange(1 << 30)}|g"
    else:
        name, value = "users.distinct", f"user-{rng.randrange(5_000)}|s"
    if tagged:
        return f"{name}:{value}|#env:production,route:/api/v1/items/{i % 97},host:web-{i:05d}".encode()
    return f"{name}.env_production.route_api_v1_items_{i % 97}.host_web-{i:05d}:{value}".encode()


def mixed(count: int, series: int, *, tagged: bool = True) -> Iterator[bytes]:
    """`count` lines of series drawn at random; the same each time."""
    rng = random.Random(1)
    for _ in range(count):
        yield line(rng, rng.randrange(series), tagged)


def each_once(series: int, *, tagged: bool = True) -> Iterator[bytes]:
    """Yield a line of every series, in an order drawn at random, to send as a warm-up."""
    rng = random.Random(2)
    order = list(range(series))
    rng.shuffle(order)
    for i in order:
        yield line(rng, i, tagged)


def write_packets(path: Path, lines: Iterator[bytes], packet_bytes: int) -> Path:
    """Packets of at most `packet_bytes` (0: a line each) as agent_send.c wants them."""
    part: list[bytes] = []
    length = 0
    with path.open("wb") as out:

        def end_packet() -> None:
            data = b"\n".join(part)
            out.write(struct.pack("<II", len(data), len(part)) + data)

        for text in lines:
            if part and length + len(text) + 1 > packet_bytes:
                end_packet()
                part, length = [], 0
            part.append(text)
            length += len(text) + 1
        end_packet()
    return path


class Sender:
    """A running agent_send; its counters may be read at any time."""

    def __init__(
        self,
        programs: Programs,
        packets: Path,
        address: str,
        *,
        lines_per_s: float,
        seconds: float = 0,
        passes: int = 0,
        prefix: Sequence[str] = (),
        segmented: bool = False,
    ) -> None:
        """`address`: a UDP port of 127.0.0.1, or the path of a Unix datagram socket. `segmented`: udp-gso."""
        self._shared = Shared(programs.folder)
        kind = "unix" if "/" in address else "udp-gso" if segmented else "udp"
        self._popen = subprocess.Popen(
            [*prefix, programs["send"], kind, address, str(packets), self._shared.path,
             str(lines_per_s), str(seconds), str(passes), str(_TICK_US)],
            start_new_session=True,
        )  # fmt: skip

    @property
    def packets(self) -> int:
        return self._shared[0]

    @property
    def lines(self) -> int:
        return self._shared[1]

    @property
    def latest_ms(self) -> float:
        """How late its latest tick was."""
        return self._shared[4] / 1000

    def wait(self, deadline_s: float) -> None:
        """Until it has sent all; raises if it failed."""
        code = self._popen.wait(deadline_s)
        if code:
            raise RuntimeError(f"agent_send ended with {code}")

    def stop(self) -> None:
        self._shared[_STOP] = 1
        self.wait(10)

    def wait_lines(self, lines: int, deadline_s: float) -> None:
        """Send until this number of lines is reached."""
        end = time.monotonic() + deadline_s
        while self.lines < lines and self._popen.poll() is None and time.monotonic() < end:
            time.sleep(0.001)


class Queue:
    """A running agent_queue: how long the owner of a UDP socket took nothing from it."""

    def __init__(self, programs: Programs, port: int, prefix: Sequence[str] = ()) -> None:
        self._shared = Shared(programs.folder)
        self._popen = subprocess.Popen(
            [*prefix, programs["queue"], str(port), self._shared.path], start_new_session=True
        )

    def restart(self) -> None:
        """Forget the lines seen."""
        self._shared[6] = 1

    @property
    def stop_ms(self) -> float:
        """The longest stop since the restart."""
        return self._shared[1] / 1e6

    @property
    def gap_ms(self) -> float:
        """The longest time it did not look itself: a stop may be known by that much only."""
        return self._shared[4] / 1e6

    @property
    def most_bytes(self) -> int:
        return self._shared[2]

    def close(self) -> None:
        self._shared[_STOP] = 1
        self._popen.wait(10)
