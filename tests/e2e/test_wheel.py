"""The wheel as it would be published: built, installed bare, and its agent run from there."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import frame
from tests.e2e.product import ROOT, Process, Starter, free_port, send_tcp, wait_for

pytestmark = pytest.mark.e2e

#: What a sidecar may have: its dependencies, and nothing of the servers.
ALLOWED = {"meterhouse", "msgspec", "pyyaml", "xxhash", "backports.zstd", "pip", "setuptools"}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    source = folder / "source"  # a copy: setuptools leaves its build folder where it builds
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(source)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"meterhouse.py", "agent", "indexer", "shim"}
    python = folder / "venv" / "bin" / "python"
    subprocess.run([str(python), *pip[1:], "install", str(wheel)], check=True)
    return python.parent


def test_nothing_but_the_agents_dependencies(bare: Path) -> None:
    listed = subprocess.run(
        [bare / "python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = {
        line.split("==")[0].split(" @")[0].replace("-", "_").lower() for line in listed.stdout.split("\n")
    }
    assert names - {""} <= {a.lower() for a in ALLOWED}


def test_missing_extra_is_named(bare: Path) -> None:
    done = subprocess.run([bare / "meterhouse", "up"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'meterhouse[all]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_config_explains_a_line(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "mapping.yml").write_text("mappings: [{match: shop.*.hits, name: hits, labels: {shop: $1}}]")
    (tmp_path / "meterhouse.toml").write_text('[agent]\nmapping = "mapping.yml"\n[indexer]\nconnections = 2\n')
    done = subprocess.run(
        [bare / "meterhouse", "check-config", "--config", "meterhouse.toml", "--line", "shop.a.hits:1|c"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'counter hits{shop="a"}' in done.stdout
    assert "[indexer] is not checked" in done.stdout


@pytest.fixture
def receiver() -> Iterator[tuple[int, list[bytes]]]:
    """A plain HTTP server that takes frames, in place of an indexer."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], bodies
        server.shutdown()
        thread.join()


def test_agent_runs_and_sends_a_frame(bare: Path, receiver: tuple[int, list[bytes]], start: Starter) -> None:
    port, bodies = receiver
    statsd = free_port()
    agent: Process = start(
        "agent",
        program=(str(bare / "meterhouse"),),
        environ={
            "METERHOUSE_AGENT__UDP": "",
            "METERHOUSE_AGENT__TCP": f"127.0.0.1:{statsd}",
            "METERHOUSE_AGENT__OPS": "127.0.0.1:0",
            "METERHOUSE_AGENT__FORWARD__URL": f"http://127.0.0.1:{port}",
            "METERHOUSE_AGENT__TAGS": '{"pod": "web-1"}',
        },
    )

    def sent() -> bool:
        try:
            send_tcp(("127.0.0.1", statsd), ["bare.count:3|c"])
        except ConnectionRefusedError:
            assert agent.running, agent.output
            return False
        return True

    wait_for(sent, "the agent listens", 30)
    assert agent.terminate() == 0, agent.output
    got = [frame.decode(body) for body in bodies]
    assert [f.rows for f in got] == [1]
    assert {"bare.count", "pod", "web-1"} <= set(got[0].strings)
    assert got[0].counters.value == b"\0\0\0\0\0\0\x08@"
