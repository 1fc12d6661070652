"""How many StatsD lines the agent takes per CPU second.

Measures the whole agent as a process of its own (sockets, lines, buckets, frames, sending), by the CPU time
the kernel books on it; next to it, in the same run, a floor: the barest Python loop that receives the same
packets. Two workloads (design/ingest.md): W1 one line per packet, W2 packets of 1,432 bytes; 1,000 and
100,000 series; 50 % counters, 20 % timers with random floats, 20 % gauges, 10 % sets, three tags each. Only
runs without loss count: the sender paces itself, and lines sent and received are compared.

    python -m tests.bench.agent_lines [--seconds 12]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import random
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.addresses import grow_receive_buffer

ROOT: Final = Path(__file__).parents[2]
TICKS: Final = os.sysconf("SC_CLK_TCK")
AGENT: Final = """
import asyncio, sys, msgspec
from agent import service
from agent.settings import AgentSettings
settings = msgspec.convert({"udp": "127.0.0.1:0", "tcp": "", "ops": "127.0.0.1:0",
                            "forward": {"url": sys.argv[1]}}, AgentSettings)
def ready(at):
    print(msgspec.json.encode(at).decode(), flush=True)
sys.exit(asyncio.run(service.run(settings, ready=ready)))
"""


def make_lines(count: int, series: int) -> list[bytes]:
    """Lines of the mix; the same each time."""
    rng = random.Random(1)
    out = []
    for _ in range(count):
        i = rng.randrange(series)
        tags = f"|#env:production,route:/api/v1/items/{i % 97},host:web-{i:05d}"
        kind = i % 10  # each series has one type
        if kind < 5:
            line = f"api.requests.count:1|c{tags}"
        elif kind < 7:
            line = f"api.request.duration:{rng.uniform(0.1, 900):.3f}|ms{tags}"
        elif kind < 9:
            line = f"process.resident.memory:{rng.randrange(1 << 30)}|g{tags}"
        else:
            line = f"users.distinct:user-{rng.randrange(5_000)}|s{tags}"
        out.append(line.encode())
    return out


def packed(lines: list[bytes], size: int) -> list[tuple[bytes, int]]:
    """Packets of at most `size` bytes with their number of lines; 0: one line each."""
    if not size:
        return [(line, 1) for line in lines]
    out, part, length = [], list[bytes](), 0
    for line in lines:
        if part and length + len(line) + 1 > size:
            out.append((b"\n".join(part), len(part)))
            part, length = [], 0
        part.append(line)
        length += len(line) + 1
    return [*out, (b"\n".join(part), len(part))]


def send(address: tuple[str, int], packets: list[tuple[bytes, int]], lines_per_s: int, seconds: float) -> int:
    """Sends packets round and round at a pace; gives the number of lines."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(address)
    sent = at = 0
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < seconds:
        while sent < elapsed * lines_per_s:
            data, lines = packets[at]
            sock.send(data)
            sent += lines
            at = (at + 1) % len(packets)
        time.sleep(0.0005)
    return sent


class Accepts(BaseHTTPRequestHandler):
    """An indexer that takes all and does nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by http.server
        """Nothing."""


def serve_indexer(channel: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Accepts)
    channel.send(server.server_address[1])
    server.serve_forever()


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def metric(ops: str, name: str) -> float:
    """One of the agent's own numbers, summed over labels."""
    with urllib.request.urlopen(f"http://{ops}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return sum(
        float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"meterhouse_agent_{name}")
    )


def agent_run(url: str, packets: list[tuple[bytes, int]], rate: int, seconds: float) -> dict[str, float]:
    """CPU seconds per million lines of an agent, over whole buckets, after a bucket to warm up."""
    process = subprocess.Popen([sys.executable, "-c", AGENT, url], cwd=ROOT, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    assert process.stdout is not None
    at = msgspec.json.decode(process.stdout.readline())
    host, _, port = at["udp"].rpartition(":")
    try:
        warm = send((host, int(port)), packets, rate, 3)
        wait_for(lambda: metric(at["ops"], "lines_total") >= warm, 5)
        before, lines_before = cpu_s(process.pid), metric(at["ops"], "lines_total")
        sent = send((host, int(port)), packets, rate, seconds)
        wait_for(lambda: metric(at["ops"], "lines_total") - lines_before >= sent, 5)
        got, used = metric(at["ops"], "lines_total") - lines_before, cpu_s(process.pid) - before
        return {"cpu": used / got * 1e6, "lost": sent - got, "rss": rss_mb(process.pid)}
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def wait_for(condition: Any, deadline_s: float) -> None:
    """Returns when it holds, or at the deadline."""
    end = time.monotonic() + deadline_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


def floor(channel: Any) -> None:
    """The barest receiver: blocking, one call per packet, counts lines."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    grow_receive_buffer(sock, 8 << 20)
    sock.settimeout(1.0)
    channel.send(sock.getsockname())
    buffer = bytearray(65_536)
    view, lines = memoryview(buffer), 0
    try:
        while True:
            size = sock.recv_into(buffer)
            lines += bytes(view[:size]).count(b"\n") + 1
    except TimeoutError:
        channel.send((lines, time.process_time()))


def floor_run(packets: list[tuple[bytes, int]], rate: int, seconds: float) -> dict[str, float]:
    """CPU seconds per million lines of the floor."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=floor, args=(theirs,))
    process.start()
    sent = send(ours.recv(), packets, rate, seconds)
    lines, used = ours.recv()
    process.join()
    return {"cpu": used / max(lines, 1) * 1e6, "lost": sent - lines}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=12.0, help="of each run (default %(default)s)")
    parser.add_argument("--pace", type=float, default=1.0, help="factor on the lines a second")
    args = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    print(f"{platform.platform()}, {os.cpu_count()} x {model[0].partition(': ')[2] if model else '?'}, "
          f"Python {platform.python_version()}, commit {commit.stdout.strip()}")  # fmt: skip
    ours, theirs = multiprocessing.Pipe()
    indexer = multiprocessing.get_context("spawn").Process(target=serve_indexer, args=(theirs,), daemon=True)
    indexer.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    print(f"{'workload':22} {'series':>8} {'lines/s':>8} | {'agent s/M':>9} {'lines/CPU s':>11} {'lost':>6} "
          f"{'RSS MB':>6} | {'floor s/M':>9} {'lost':>6}")  # fmt: skip
    for name, size, full_rate in (
        ("W1, one line a packet", 0, 50_000),
        ("W2, 1,432 byte packets", 1_432, 200_000),
    ):
        rate = int(full_rate * args.pace)
        for series in (1_000, 100_000):
            packets = packed(make_lines(400_000, series), size)
            bare = floor_run(packets, rate, 3)
            agent = agent_run(url, packets, rate, args.seconds)
            print(f"{name:22} {series:8,} {rate:8,} | {agent['cpu']:9.2f} {1e6 / agent['cpu']:11,.0f} "
                  f"{agent['lost']:6,.0f} {agent['rss']:6.0f} | {bare['cpu']:9.2f} {bare['lost']:6,.0f}",
                  flush=True)  # fmt: skip
    indexer.terminate()


if __name__ == "__main__":
    main()
