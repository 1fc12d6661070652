"""The wheel as it would be published: built, installed bare, and its agent run from there."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.wire import frame
from page_build import sources as page_sources
from tests.e2e.product import ROOT, Process, Starter, send_tcp, wait_for
from tests.support.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.long]

#: Packages that a sidecar may have: its dependencies, and nothing of the servers.
ALLOWED = {"meterhouse", "google_re2", "msgspec", "pyyaml", "xxhash", "backports.zstd"}


#: A larger file in the wheel needs a look: the page's script is the largest, the agent's core the next.
MAX_FILE_BYTES = 700_000
#: The files of a wheel: code, types, compiled modules and descriptions. No sources that are compiled.
SUFFIXES = {".py", ".pyi", ".so", ".txt", ""}
PAGE_SUFFIXES = {".html", ".js", ".css", ".svg", ".gz", ".sha256"}
#: The built web page.
PAGE = "shim/http/ui/dist"
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a copy of the repository's content."""
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    # The page that `make test` built: the build takes it as it is, and npm installs nothing once more.
    shutil.copytree(ROOT / PAGE, source / PAGE)
    return source


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the C compiler without optimisation, which is most of the time that a build takes.

    No test of this module is about speed, and all other tests run the optimised core.
    """
    path = tmp_path_factory.mktemp("compiler") / "cc"
    found = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    path.write_text(f'#!/bin/sh\nexec {found} "$@" -O0\n')
    path.chmod(0o755)
    return path


def built(source: Path, folder: Path, compiler: Path, *options: str) -> tuple[Path, set[str]]:
    """Return the wheel of the source, and the names of its files.

    Built from a copy, without an earlier build's folder: setuptools takes all files it finds in it. The C
    files of an earlier build are taken over, and Cython does not make them again.
    """
    shutil.copytree(source, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    command = [*PIP, "wheel", "--no-deps", *options, "--wheel-dir", str(folder), str(folder / "source")]
    subprocess.run(command, check=True, env={**os.environ, "CC": str(compiler)})
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        return wheel, set(archive.namelist())


@pytest.fixture(scope="module")
def bare(source: Path, compiler: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a virtual environment with the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel, names = built(source, folder, compiler)
    tops = {name.split("/")[0] for name in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"meterhouse.py", "agent", "indexer", "shim"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    page = {name.removeprefix("shim/http/ui/") for name in names if name.startswith("shim/http/ui/")}
    assert page == {f"dist/{path.name}" for path in (source / PAGE).iterdir()}
    assert {"dist/index.html", "dist/index.html.gz", "dist/licenses.txt"} <= page
    for native in ("agent/core/_native/", "indexer/_native/", "shim/http/_native/"):
        assert {Path(name).suffix for name in names if name.startswith(native)} == {".py", ".pyi", ".so"}
    with zipfile.ZipFile(wheel) as archive:
        large = {one.filename: one.file_size for one in archive.infolist() if one.file_size > MAX_FILE_BYTES}
    assert large == {}
    assert {suffix for name in names if (suffix := Path(name).suffix) not in PAGE_SUFFIXES} <= SUFFIXES
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*PIP, "--python", str(python), "install", "--no-compile", str(wheel)], check=True)
    _strip(folder / "venv")
    return python.parent


def _strip(folder: Path) -> None:
    """Strip the packages as `make run` does; the tests that follow run the stripped ones."""
    before = {path: path.stat().st_size for path in folder.glob("lib/**/*.so")}
    assert before
    subprocess.run([ROOT / "deploy" / "locks" / "strip", folder], check=True)
    after = {path: path.stat().st_size for path in folder.glob("lib/**/*.so")}
    assert after.keys() == before.keys()  # nothing half done is left, either
    assert not list(folder.glob("lib/**/*.stripped"))
    assert all(after[path] <= before[path] and os.access(path, os.X_OK) for path in before)
    if shutil.which("strip") and shutil.which("readelf"):
        assert sum(after.values()) < sum(before.values())


def test_the_core_is_compiled(bare: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            bare / "python",
            "-c",
            "import agent.core._native.core as c; print(c.NativeCore.native, c.__file__)",
        ],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    native, path = done.stdout.split()
    assert native == "True"
    assert str(bare.parent) in path


#: Adds a line and says which core did it, and with which result.
ONE_LINE = """
from agent import settings
from agent.core.factory import open_core
from agent.runtime.logs import Log
from agent.wire.frame import Sender, decode, encode

chosen = open_core(settings.AgentSettings(), None, lambda: None, Log())
chosen.add(b"a.b:3|c|@0.5|#k:v", 1_700_000_000_000)
chosen.flush_all(1_700_000_000_000)
frame = chosen.next_frame(Sender(agent="a", epoch=1), 1, 1, max_rows=10, max_bytes=65_536)
made = decode(encode(frame))
print(chosen.native, made.strings, made.counters.value.hex())
"""


def test_without_a_compiler_the_core_in_python_runs(bare: Path, tmp_path: Path) -> None:
    with_c_files = bare.parents[1] / "source"
    # The first build had an environment with Cython of its own; this one finds C files, and needs none.
    wheel, names = built(with_c_files, tmp_path, Path("/bin/false"), "--no-build-isolation")
    assert not {name for name in names if name.endswith(".so")}
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked")
    said = []
    for environ in ({}, {"PYTHONPATH": str(tmp_path / "unpacked")}):
        done = subprocess.run(
            [bare / "python", "-c", ONE_LINE], capture_output=True, text=True, check=True, cwd=tmp_path,
            env={**os.environ, **environ},
        )  # fmt: skip
        said.append((*done.stdout.rstrip().split(" ", 1), "core=python" in done.stderr))
    answer = "['a.b', 'k', 'v'] 0000000000001840"
    assert said == [("True", answer, False), ("False", answer, True)]


def test_the_source_distribution_is_whole(source: Path, tmp_path: Path) -> None:
    """All that compiling needs is in it, and nothing that a build made."""
    build = "import setuptools.build_meta as b, sys; print(b.build_sdist(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], check=True, cwd=source, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    natives = ("agent/core/_native", "indexer/_native", "shim/http/_native")
    wanted = {f"{native}/{path.name}" for native in natives for path in (source / native).iterdir()}
    assert {name for name in wanted if name.endswith((".pyx", ".pxi", ".h", ".pyi", ".py"))} <= names
    page = source / "shim" / "http" / "ui"
    files = (page / name for name in page_sources(page))
    assert {"setup.py", "page_build.py", *(str(path.relative_to(source)) for path in files)} <= names
    assert {"LICENSE", "README.md", "PKG-INFO"} <= names
    tops = {name.partition("/")[0] for name in names if "/" in name}
    assert tops == {"agent", "indexer", "shim", "meterhouse.egg-info"}
    assert not {name for name in names if name.endswith((".so", ".pyc", ".c")) or "/node_modules" in name}


def test_a_page_that_cannot_be_built_is_left_out(source: Path, tmp_path: Path) -> None:
    """Neither Node on PATH nor from PyPI: building goes on, and says so."""
    shutil.copytree(source, tmp_path / "source", ignore=shutil.ignore_patterns("dist", "build", "*.egg-info"))
    environ = {**os.environ, "PATH": str(tmp_path)}
    for variables, said in ((environ, True), ({**environ, "METERHOUSE_PAGE": "0"}, False)):
        done = subprocess.run(
            [sys.executable, "setup.py", "build_page", "--inplace"],
            cwd=tmp_path / "source", capture_output=True, text=True, check=True, env=variables,
        )  # fmt: skip
        assert ("the web page is left out" in done.stderr) is said
        assert not (tmp_path / "source" / PAGE).exists()


def test_nothing_but_the_agents_dependencies(bare: Path) -> None:
    listed = subprocess.run(
        [*PIP, "--python", bare / "python", "list", "--format=freeze"],
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
    (tmp_path / "meterhouse.toml").write_text(
        '[agent]\nmapping = "mapping.yml"\n[indexer]\nconnections = 2\n'
    )
    done = subprocess.run(
        [bare / "meterhouse", "check-config", "--config", "meterhouse.toml", "--line", "shop.a.hits:1|c"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'counter hits{shop="a"}' in done.stdout
    assert "is not checked" not in done.stdout  # no section needs a package of another part


def test_check_config_names_a_wrong_setting_of_another_part(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "meterhouse.toml").write_text("[indexer]\nconnections = -2\n")
    done = subprocess.run(
        [bare / "meterhouse", "check-config", "--config", "meterhouse.toml"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "meterhouse.toml:2" in done.stderr
    assert "connections" in done.stderr


@pytest.fixture
def receiver() -> Iterator[tuple[int, list[bytes]]]:
    """Provide a plain HTTP server that takes frames, in place of an indexer."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/frames"):  # heartbeats come, too
                bodies.append(body)
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

    wait_for(sent, "the agent listens", 240)
    assert agent.terminate() == 0, agent.output
    got = [frame.decode(body) for body in bodies]
    assert [f.rows for f in got] == [1]
    assert {"bare.count", "pod", "web-1"} <= set(got[0].strings)
    assert got[0].counters.value == b"\0\0\0\0\0\0\x08@"
