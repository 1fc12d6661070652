"""The servers that `tests.bench.peers` compares, in folders of their own, filled with the same samples.

Meterhouse gets the deltas as an agent would send them; Prometheus and VictoriaMetrics get the running totals
as a scrape at the end of each bucket would see them.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from agent.wire.frame import CONTENT_TYPE, decode
from tests.bench.indexer_rows import START_S, counter_frames
from tests.e2e.product import Starter, Up, get, wait_for
from tests.support.ports import free_port

TICKS: Final = os.sysconf("SC_CLK_TCK")
METRIC: Final = "http_requests"
BUCKET_S: Final = 10
_BUCKETS_A_FRAME: Final = 30
_LOAD_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Family:
    """Series of one metric as peers store them: a sample of each in each bucket."""

    metric: str
    labels: Sequence[dict[str, str]]
    values: npt.NDArray[np.float64]  # (series, buckets)
    seconds: int = BUCKET_S  # when a bucket's sample is taken, after the bucket's start

    @property
    def times_s(self) -> npt.NDArray[np.int64]:
        return START_S + self.seconds + BUCKET_S * np.arange(self.values.shape[1])


@dataclass(frozen=True, slots=True)
class Load:
    """The samples of an agent, and those of a scraper of the same process."""

    frames: Sequence[bytes]
    families: Sequence[Family]

    @staticmethod
    def of(series: int, hours: int) -> Load:
        """Counters: deltas, and the same as running totals at the end of each bucket."""
        frames = list(counter_frames(series * _BUCKETS_A_FRAME, hours * 12, series))
        deltas = []
        labels: list[dict[str, str]] = []
        for body in frames:
            frame = decode(body)
            assert frame.counters is not None
            deltas.append(np.frombuffer(frame.counters.value, "<f8").reshape(_BUCKETS_A_FRAME, series))
            if not labels:
                tags = np.frombuffer(frame.series.tag_value, "<u4").reshape(series, -1).tolist()
                names = ("host", "route", "status")
                labels = [dict(zip(names, (frame.strings[i] for i in row), strict=True)) for row in tags]
        return Load(frames, [Family(METRIC, labels, np.cumsum(np.concatenate(deltas), axis=0).T)])

    @property
    def samples(self) -> int:
        return sum(family.values.size for family in self.families)


class Server:
    """One running server: its API, and the CPU clock of its process."""

    def __init__(self, name: str, pid: int, url: str, extra: dict[str, str] | None = None) -> None:
        self.name = name
        self.pid = pid
        self._extra = extra or {}
        address = urllib.parse.urlsplit(url)
        assert address.hostname is not None
        self._connection = http.client.HTTPConnection(address.hostname, address.port, timeout=300)

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("meterhouse")

    def cpu_s(self) -> float:
        """User and system time of the process, all threads; steps of 10 ms, so sum over many requests."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def ask(self, path: str, parameters: Mapping[str, object]) -> tuple[float, bytes]:
        """Wall seconds and the body of one answer, over one connection that stays open."""
        body = urllib.parse.urlencode({**parameters, **self._extra})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        start = time.perf_counter()
        self._connection.request("POST", f"/api/v1/{path}", body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        took = time.perf_counter() - start
        assert answer.status == 200, text[:500]
        return took, text

    def settle(self, deadline_s: float = 120.0) -> None:
        """Return when background work is quiet: under 5 % of a core over a second."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            before = self.cpu_s()
            time.sleep(1.0)
            if self.cpu_s() - before < 0.05:
                return
        print(f"# {self.name} was still busy with its own work")


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    path: str
    parameters: dict[str, int]
    over: str
    day: bool = False  # an aggregation over the whole day
    of_peers: str = ""  # how the others are asked for it, where they have other series

    def ask(self, server: Server) -> tuple[float, bytes]:
        text = self.text if server.is_ours else self.of_peers or self.text
        return server.ask(self.path, {"query": text, **self.parameters})

    def earlier(self, seconds: int) -> Query:
        """Return the same query over earlier times, as a dashboard that moves on asks, but backwards."""
        moved = {k: v - seconds if k in ("start", "end", "time") else v for k, v in self.parameters.items()}
        return replace(self, parameters=moved)


class Peers:
    """Starts, fills and ends the servers; all in folders below `folder`."""

    def __init__(self, folder: Path, victoria_metrics: str | None) -> None:
        self._folder = folder
        self._victoria_metrics = victoria_metrics
        self._starter = Starter(folder / "meterhouse")
        self._begun: list[subprocess.Popen[bytes]] = []
        self._up: Up | None = None
        self._victoria_url = ""
        self.frames_url = ""

    @property
    def embedded_path(self) -> Path:
        return self._folder / "meterhouse" / "data" / "chdb"

    def start(self) -> list[Server]:
        """Every server there is, on the data it has; those that keep something once with it, once without."""
        self._up = up = self._starter.up()
        self.frames_url = up.find(r"frames +(http\S+)")[1]
        servers = [
            Server("meterhouse", up.pid, up.api.url),
            Server("meterhouse, by statement", up.pid, up.api.url, {"nocache": "1"}),
            self._prometheus(),
        ]
        if self._victoria_metrics is not None:
            servers += self._victoria(self._victoria_metrics)
        return servers

    def forget(self) -> None:
        """As if Meterhouse had not been asked anything before its next start."""
        path = self.embedded_path
        path.with_name(f"{path.name}.recent.json").unlink(missing_ok=True)

    def stop(self) -> None:
        """End them in order, so that they keep their data."""
        if self._up is not None:
            self._up.terminate()
        for process in self._begun:
            process.send_signal(signal.SIGTERM)
        for process in self._begun:
            process.wait(60)
        self._begun.clear()

    def clear(self) -> None:
        self._starter.clear()
        for process in self._begun:
            process.kill()
            process.wait()

    # ------------------------------------------------------------ filling

    def fill_prometheus(self, load: Load) -> None:
        """Blocks by promtool, before the server starts."""
        text = self._folder / "openmetrics.txt"
        with text.open("w") as out:
            _write_open_metrics(out, load)
        data = self._folder / "prometheus"
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(data)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        text.unlink()

    def fill_running(self, load: Load, servers: Sequence[Server]) -> None:
        """Send the samples to the servers that take them over HTTP."""
        for body in load.frames:  # answered when it is in ClickHouse
            _post(self.frames_url, body, CONTENT_TYPE)
        victoria = next((s for s in servers if s.name == "victoria-metrics"), None)
        if victoria is not None:
            for lines in _import_lines(load):
                _post(f"{self._victoria_url}/api/v1/import", lines, "application/json")
            get(f"{self._victoria_url}/internal/force_flush", 60)
            get(f"{self._victoria_url}/internal/force_merge", 60)

    # ------------------------------------------------------------ processes

    def _prometheus(self) -> Server:
        data, port = self._folder / "prometheus", free_port()
        data.mkdir(exist_ok=True)
        config = self._folder / "prometheus.yml"
        config.write_text("scrape_configs: []\n")
        url = f"http://127.0.0.1:{port}"
        pid = self._spawn(
            "prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        )  # fmt: skip
        wait_for(lambda: get(f"{url}/-/ready")[0] == 200, "Prometheus is ready", 60)
        return Server("prometheus", pid, url)

    def _victoria(self, program: str) -> list[Server]:
        data, port = self._folder / "victoria-metrics", free_port()
        self._victoria_url = url = f"http://127.0.0.1:{port}"
        pid = self._spawn(
            program, f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=1y",
            "-loggerLevel=ERROR",
        )  # fmt: skip
        wait_for(lambda: get(f"{url}/health")[0] == 200, "VictoriaMetrics is ready", 60)
        return [
            Server("victoria-metrics", pid, url, {"nocache": "1"}),
            Server("victoria-metrics, cached", pid, url),
        ]

    def _spawn(self, *command: str) -> int:
        with (self._folder / f"{Path(command[0]).name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        self._begun.append(process)
        return process.pid


def _write_open_metrics(out: IO[str], load: Load) -> None:
    for family in load.families:
        names = [
            family.metric + "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "} "
            for labels in family.labels
        ]
        for time_s, values in zip(family.times_s.tolist(), family.values.T.tolist(), strict=True):
            out.write("".join(f"{n}{v:.17g} {time_s}\n" for n, v in zip(names, values, strict=True)))
    out.write("# EOF\n")


def _import_lines(load: Load) -> Iterator[bytes]:
    """Yield VictoriaMetrics' JSON lines, 50 series each."""
    for family in load.families:
        times_ms = (family.times_s * 1000).tolist()
        for begin in range(0, len(family.labels), 50):
            some = slice(begin, begin + 50)
            series = zip(family.labels[some], family.values[some].tolist(), strict=True)
            lines = [
                json.dumps(
                    {
                        "metric": {"__name__": family.metric, **labels},
                        "values": values,
                        "timestamps": times_ms,
                    }
                )
                for labels, values in series
            ]
            yield "\n".join(lines).encode()


def _post(url: str, body: bytes, content_type: str) -> None:
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=_LOAD_S) as response:
        assert response.status in (200, 204)
