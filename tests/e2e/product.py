"""Real processes of Meterhouse for tests: started on free ports, waited for by condition, never by time."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

ROOT: Final = Path(__file__).parents[2]
PROGRAM: Final = (sys.executable, str(ROOT / "meterhouse.py"))
START_S: Final = 240.0
VISIBLE_S: Final = 240.0
FORTY_DAYS_S: Final = 40 * 86_400

T = TypeVar("T")


def wait_for(ask: Callable[[], T | None], what: str, deadline_s: float) -> T:
    """Return the first answer that is neither None nor False; fail with `what` after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        got = ask()
        if got is not None and got is not False:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.05)


def get(url: str, timeout_s: float = 120.0) -> tuple[int, bytes]:
    """Status and body; status 0 when no server answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read()
    except OSError:
        return 0, b""


class Process:
    """One `meterhouse` command in a process group of its own, its output in a file."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
        stderr: int = subprocess.STDOUT,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("METERHOUSE_")}
        with self.log.open("wb") as out:
            self._popen = subprocess.Popen(
                [*program, *arguments],
                cwd=folder,
                env={**clean, "PYTHONUNBUFFERED": "1", **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=stderr,
                process_group=0,  # in our session: a group that no shell cares for would not stop at SIGTSTP
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def find(self, pattern: str, deadline_s: float = START_S) -> re.Match[str]:
        """Return the first match in the output, once it is there; fail when the process ends before."""

        def look() -> re.Match[str] | None:
            alive = self.running
            m = re.search(pattern, self.output)
            assert m or alive, f"ended with {self._popen.returncode}:\n{self.output}"
            return m

        return wait_for(look, f"{pattern} in\n{self.output}", deadline_s)

    def wait(self, deadline_s: float = 240.0) -> int:
        return self._popen.wait(deadline_s)

    def terminate(self, deadline_s: float = 240.0) -> int:
        """SIGTERM to this process (not its children), then its exit code."""
        self._popen.send_signal(signal.SIGTERM)
        return self.wait(deadline_s)

    def interrupt(self) -> None:
        """SIGINT to the whole group, as Ctrl-C in a terminal sends it."""
        os.killpg(self._popen.pid, signal.SIGINT)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, as a terminal and its shell do."""
        os.killpg(self._popen.pid, number)

    @property
    def states(self) -> set[str]:
        """Return the states of this process and its children, as Linux' letters: T is stopped."""
        stats = [Path(f"/proc/{pid}/stat").read_text() for pid in (self._popen.pid, *self._children())]
        return {stat.rpartition(")")[2].split()[0] for stat in stats}

    def _children(self) -> list[int]:
        path = Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children")
        return [int(child) for child in path.read_text().split()]

    def kill_children(self) -> None:
        """kill -9 of every child of this process."""
        children = self._children()
        assert children
        for child in children:
            os.kill(child, signal.SIGKILL)

    def kill(self) -> None:
        """kill -9 of this process alone."""
        self._popen.kill()
        self._popen.wait()

    def clear(self) -> None:
        """End the whole group, in any state."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()


class Up(Process):
    """`meterhouse up` on free ports; its data is in the folder, unless `environ` names another store.

    `statsd`, `indexer` and `api` are ports; 0: one of the kernel's, which others may get after its end.
    """

    def __init__(
        self,
        folder: Path,
        *,
        statsd: int = 0,
        indexer: int = 0,
        api: int = 0,
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        elsewhere = "METERHOUSE_INDEXER__DSN" in (environ or {})
        super().__init__(
            folder,
            *("up", "--statsd", f"127.0.0.1:{statsd}"),
            *(() if elsewhere else ("--data", str(folder / "data"))),
            *("--indexer", f"127.0.0.1:{indexer}", "--api", f"127.0.0.1:{api}"),
            environ={
                "METERHOUSE_AGENT__OPS": "127.0.0.1:0",
                "METERHOUSE_AGENT__AGGREGATE__LATENESS_S": str(FORTY_DAYS_S),
                **(environ or {}),
            },
            program=program,
        )

    def ready(self) -> Up:
        """Return when the API says that it is ready."""
        self.udp = _address(self.find(r"StatsD lines +udp (\S+), tcp ([^\s,]+)")[1])
        self.tcp = _address(self.find(r"StatsD lines +udp (\S+), tcp ([^\s,]+)")[2])
        self.indexer = self.find(r"frames +(http\S+)/v1/frames")[1]
        self.agent = self.find(r"agent metrics +(http\S+)/metrics")[1]
        self.api = Api(self.find(r"Prometheus API +(http\S+)")[1], self.agent)
        self.api.wait_until_ready()
        return self

    def send(self, lines: Iterable[str]) -> None:
        """Send the lines over TCP: nothing is lost on the way."""
        send_tcp(self.tcp, lines)


class Starter:
    """Starts processes in one folder, and ends all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._begun: list[Process] = []

    def __call__(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
        stderr: int = subprocess.STDOUT,
    ) -> Process:
        begun = Process(self.folder, *arguments, environ=environ, program=program, stderr=stderr)
        self._begun.append(begun)
        return self._begun[-1]

    def up(
        self, *, statsd: int = 0, indexer: int = 0, api: int = 0, environ: Mapping[str, str] | None = None
    ) -> Up:
        up = Up(self.folder, statsd=statsd, indexer=indexer, api=api, environ=environ)
        self._begun.append(up)
        return up.ready()

    def clear(self) -> None:
        for process in self._begun:
            process.clear()


class Api:
    """A running API. `agent`: the URL of the agent whose lines it answers about, where there is one."""

    def __init__(self, url: str, agent: str = "") -> None:
        self.url = url
        self._agent = agent

    def wait_until_ready(self) -> None:
        wait_for(lambda: get(f"{self.url}/-/ready")[0] == 200, f"{self.url} is ready", START_S)

    def data(self, path: str, **parameters: str | float) -> Any:
        status, body = get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", 120)
        document = json.loads(body) if body else {"error": "no answer"}
        assert status == 200, f"{status} {document.get('error')}: {parameters}"
        return document["data"]

    def instant(self, query: str, at: float) -> dict[tuple[tuple[str, str], ...], float]:
        """Labels (without the name) -> value."""
        data = self.data("query", query=query, time=at)
        if data["resultType"] == "scalar":
            return {(): float(data["result"][1])}
        return {_labels(s["metric"]): float(s["value"][1]) for s in data["result"]}

    def range(
        self, query: str, start: int, end: int, step: int
    ) -> dict[tuple[tuple[str, str], ...], dict[int, float]]:
        """Labels (without the name) -> time -> value."""
        data = self.data("query_range", query=query, start=start, end=end, step=step)
        return {
            _labels(s["metric"]): {int(t): float(v) for t, v in s.get("values", ())} for s in data["result"]
        }

    def one(self, query: str, at: float) -> float | None:
        """Return the value of the only series; None when there is none."""
        got = self.instant(query, at)
        assert len(got) < 2, got
        return next(iter(got.values()), None)

    def wait_until(self, query: str, at: float, value: float) -> None:
        """Return when the query gives `value` and its frames are acknowledged; fail when it gives more.

        Before that, rows may be in one rollup and not yet in those that another query reads.
        """

        def reached() -> bool:
            got = self.one(query, at) or 0.0
            assert got <= value, f"{query} gives {got}, more than {value}"
            return got == value

        wait_for(reached, f"{query} == {value}", VISIBLE_S)
        wait_for(self._acknowledged, "all frames are acknowledged", VISIBLE_S)

    def _acknowledged(self) -> bool:
        """Return whether the agent, if it runs, has no frame under way."""
        metrics = get(f"{self._agent}/metrics")[1].decode() if self._agent else ""
        found = re.search(r"^meterhouse_agent_unsent_frames (\S+)$", metrics, re.MULTILINE)
        return found is None or float(found[1]) == 0


def _labels(metric: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, v) for k, v in metric.items() if k != "__name__"))


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def send_tcp(address: tuple[str, int], lines: Iterable[str]) -> None:
    with socket.create_connection(address) as sock:
        sock.sendall("".join(f"{line}\n" for line in lines).encode())
