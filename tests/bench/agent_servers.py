"""The StatsD servers that the agent's benchmarks compare, each on a free port, flushing every 10 s.

The agent sends its frames to a sink in another process that only answers 200; peers write Graphite text to a
sink that only reads (netdata keeps its charts in its own memory). The cost of the sinks is not counted. Peers
are not part of this project: Debian's `collectd-core` and `netdata-core`, npm's `statsd`; those that are not
installed are left out, and the run says so.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import socketserver
import subprocess
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final

from tests.bench.agent_load import Programs
from tests.e2e.product import PROGRAM, get, wait_for
from tests.support.ports import free_port

_START_S: Final = 60.0
_CPUCLOCK_SCHED: Final = 2


class _Accepts(BaseHTTPRequestHandler):
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


class _Swallows(socketserver.BaseRequestHandler):
    """A Graphite that reads all and does nothing."""

    def handle(self) -> None:
        while self.request.recv(1 << 20):
            pass


class _Graphite(socketserver.ThreadingTCPServer):
    daemon_threads = True


def _serve(channel: Any) -> None:
    frames = ThreadingHTTPServer(("127.0.0.1", 0), _Accepts)
    graphite = _Graphite(("127.0.0.1", 0), _Swallows)
    threading.Thread(target=graphite.serve_forever, daemon=True).start()
    channel.send((frames.server_address[1], graphite.server_address[1]))
    frames.serve_forever()


class Sinks:
    """Where servers send to, in a process of its own."""

    def __init__(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs,), daemon=True
        )
        self._process.start()
        self.frames_port, self.graphite_port = ours.recv()

    def close(self) -> None:
        self._process.terminate()
        self._process.join(10)


class Server:
    """One server: how it is started, and its numbers from the kernel."""

    name: ClassVar[str] = ""
    tagged: ClassVar[bool] = False  # it reads DogStatsD tags
    flushes: ClassVar[bool] = True

    def __init__(self, folder: Path, programs: Programs, sinks: Sinks, prefix: Sequence[str] = ()) -> None:
        """`prefix`: a command that executes another (`nice`, `taskset`)."""
        self.folder = folder / self.name.replace(" ", "-")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.programs = programs
        self.sinks = sinks
        self.prefix = list(prefix)
        self.udp_port = free_port()
        self._popen: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> str:
        """Return which programs are missing; empty if it can run."""
        return ""

    def start(self) -> None:
        """Start it, and return when it listens."""
        command, environ = self.command()
        with (self.folder / "output").open("wb") as log:
            self._popen = subprocess.Popen(
                [*self.prefix, *command], cwd=self.folder, env={**_clean_environ(), **environ},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_for(lambda: self._listens() or not self.running, f"{self.name} listens", _START_S)
        if not self.running:
            raise RuntimeError(f"{self.name} ended:\n{(self.folder / 'output').read_text()}")

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Return the command line and its environment."""
        raise NotImplementedError

    def _listens(self) -> bool:
        return bool(_sockets(self.udp_port))

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def stop(self) -> None:
        if self._popen is None:
            return
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(30)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._popen = None

    def cpu_s(self) -> float:
        """CPU of the whole process, of threads that ended too, to the nanosecond (the kernel's own count)."""
        return time.clock_gettime((~self.pid << 3) | _CPUCLOCK_SCHED)

    def rss_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def kernel_drops(self) -> int:
        """Packets that found its receive buffer full."""
        return sum(int(fields[-1]) for fields in _sockets(self.udp_port))

    def lines(self) -> int | None:
        """Lines it says it has received; None if it has no such number."""
        return None


class Agent(Server):
    """Ours, as `meterhouse agent` with its defaults."""

    name = "agent"
    tagged = True
    core = ""  # the installed one

    def __init__(self, folder: Path, programs: Programs, sinks: Sinks, prefix: Sequence[str] = ()) -> None:
        super().__init__(folder, programs, sinks, prefix)
        self.ops_port = free_port()
        #: Further tables of its file, in lines of TOML.
        self.tables: list[str] = []

    def command(self) -> tuple[list[str], dict[str, str]]:
        config = self.folder / "agent.toml"
        config.write_text("\n".join([
            "[agent]", f'udp = "127.0.0.1:{self.udp_port}"', 'tcp = ""', f'ops = "127.0.0.1:{self.ops_port}"',
            *([f'core = "{self.core}"'] if self.core else []),
            "[agent.forward]", f'url = "http://127.0.0.1:{self.sinks.frames_port}"', *self.tables, "",
        ]))  # fmt: skip
        return [*PROGRAM, "agent", "--config", str(config)], {}

    def _listens(self) -> bool:
        return get(f"http://127.0.0.1:{self.ops_port}/readyz")[0] == 200

    def metric(self, name: str) -> float:
        """One of its own numbers, summed over labels."""
        text = get(f"http://127.0.0.1:{self.ops_port}/metrics")[1].decode()
        start = f"meterhouse_agent_{name}"
        return sum(
            float(at.rpartition(" ")[2])
            for at in text.splitlines()
            if at.partition("{")[0].split(" ")[0] == start
        )

    def lines(self) -> int:
        return int(self.metric("lines_total"))

    def check(self) -> None:
        """Check that lines were sent on: the figures must not be those of an agent that sends nothing."""
        assert self.metric("sent_rows_total") > 0, "nothing was sent"
        assert self.metric("bad_lines_total") == 0, "lines were refused"
        for name in ("dropped_rows_total", "send_retries_total", "early_flushes_total"):
            assert self.metric(name) == 0, name


class PythonAgent(Agent):
    """Ours without a compiler."""

    name = "agent-python"
    core = "python"


class Floor(Server):
    """A receiver in C that only counts: agent_floor.c."""

    name = "floor-blocking"
    tagged = True
    flushes = False
    nap_us = 0

    def start(self) -> None:
        self._popen = subprocess.Popen(
            [*self.prefix, self.programs["floor"], str(self.nap_us)],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._popen.stdout is not None
        self.udp_port = int(self._popen.stdout.readline())

    def stop(self) -> None:
        if self._popen is not None and self._popen.stdout is not None:
            self._popen.stdout.close()
        super().stop()


class NapFloor(Floor):
    """The same with a nap between drains."""

    name = "floor-nap"
    nap_us = 1_000


class Peer(Server):
    """A server of another project; gets a receive buffer of 64 MiB, see agent_buffer.c."""

    def environ(self) -> dict[str, str]:
        return {"LD_PRELOAD": self.programs["buffer"]}


class Collectd(Peer):
    """Debian's collectd with its plugins `statsd` and `write_graphite`."""

    name = "collectd"

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("collectd") else "collectd (apt-get install collectd-core)"

    def command(self) -> tuple[list[str], dict[str, str]]:
        config = self.folder / "collectd.conf"
        config.write_text(f"""
Hostname "bench"
FQDNLookup false
Interval 10
BaseDir "{self.folder}"
PIDFile "{self.folder}/pid"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin statsd
<Plugin statsd>
  Host "127.0.0.1"
  Port "{self.udp_port}"
  TimerPercentile 90.0
</Plugin>
LoadPlugin write_graphite
<Plugin write_graphite>
  <Node "sink">
    Host "127.0.0.1"
    Port "{self.sinks.graphite_port}"
    Protocol "tcp"
    LogSendErrors true
  </Node>
</Plugin>
""")
        return ["collectd", "-f", "-C", str(config)], self.environ()


_NETDATA_PLUGINS: Final = (
    *(
        "timex",
        "checks",
        "idlejitter",
        "tc",
        "diskspace",
        "proc",
        "cgroups",
        "slabinfo",
        "perf",
        "apps",
        "go.d",
    ),
    *("python.d", "charts.d", "node.d", "fping", "ioping", "nfacct", "freeipmi", "ebpf", "xenstat", "cups"),
    *("enable running new plugins", "netdata monitoring", "netdata monitoring extended", "PROFILE"),
)


class Netdata(Peer):
    """Debian's netdata with nothing but StatsD; every metric gets a chart, kept in memory."""

    name = "netdata"

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("netdata") else "netdata (apt-get install netdata-core)"

    def command(self) -> tuple[list[str], dict[str, str]]:
        for name in ("cache", "lib", "log"):
            (self.folder / name).mkdir(exist_ok=True)
        config = self.folder / "netdata.conf"
        off = "\n".join(f"  {name} = no" for name in _NETDATA_PLUGINS)
        config.write_text(f"""
[global]
  run as user = root
  hostname = bench
  process scheduling policy = keep
  update every = 10
[db]
  mode = ram
  update every = 10
  retention = 60
[directories]
  cache = {self.folder}/cache
  lib = {self.folder}/lib
  log = {self.folder}/log
[logs]
  debug = none
  error = none
  access = none
[web]
  mode = none
[ml]
  enabled = no
[health]
  enabled = no
[plugins]
{off}
  statsd = yes
[statsd]
  enabled = yes
  update every (flushInterval) = 10
  bind to = udp:127.0.0.1:{self.udp_port}
  create private charts for metrics matching = *
  max private charts hard limit = 1000000
""")
        return ["netdata", "-D", "-c", str(config)], self.environ()


class NodeStatsd(Peer):
    """npm's statsd with its Graphite backend."""

    name = "statsd-node"

    @classmethod
    def missing(cls) -> str:
        return (
            "" if cls._script().exists() else "statsd (npm install statsd, STATSD_JS says where stats.js is)"
        )

    @staticmethod
    def _script() -> Path:
        return Path(os.environ.get("STATSD_JS", "node_modules/statsd/stats.js"))

    def command(self) -> tuple[list[str], dict[str, str]]:
        config = self.folder / "statsd.js"
        config.write_text(f"""{{
  address: "127.0.0.1", port: {self.udp_port}, mgmt_address: "127.0.0.1", mgmt_port: {free_port()},
  flushInterval: 10000, percentThreshold: [90],
  graphiteHost: "127.0.0.1", graphitePort: {self.sinks.graphite_port}, graphite: {{ legacyNamespace: false }},
  backends: ["./backends/graphite"]
}}
""")
        return ["node", str(self._script().resolve()), str(config)], self.environ()


ALL: Final[tuple[type[Server], ...]] = (
    Agent, Floor, NapFloor, Netdata, Collectd, NodeStatsd, PythonAgent,
)  # fmt: skip


def _clean_environ() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("METERHOUSE_")}


def _sockets(port: int) -> list[list[str]]:
    """Return the kernel's lines about UDP sockets bound to a port, in fields."""
    lines = [at.split() for at in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return [fields for fields in lines if int(fields[1].partition(":")[2], 16) == port]
