"""Writes deploy/locks: the versions and hashes of all packages, for the container and for CI.

    python -m tests.support.locks     needs uv (pip install uv) and PyPI

One file for each set of extras, for all platforms and versions of Python. Locked versions stay unless
pyproject.toml refuses it; `--upgrade` takes the latest versions. Fails when Linux on x86_64 or aarch64 would
have to compile a package.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from page_build import NODE

ROOT: Final = Path(__file__).parents[2]
LOCKS: Final = ROOT / "deploy" / "locks"
#: Part -> extras. The first is locked first, and the others follow its versions.
PARTS: Final = {"test": ("test",), "all": ("all",), "shim": ("shim",), "agent": ()}
#: Packages that build the native parts.
BUILD: Final = "build"
#: Node, which builds the web page where the machine has none: `deploy/locks/install` asks for it.
PAGE: Final = "page"
#: uv, which `deploy/locks/install` installs the others with.
INSTALLER: Final = "installer"
#: Packages that the embedded ClickHouse requires for data frames and Arrow tables, 250 MB: we use neither.
UNUSED: Final = {"test": ("pyarrow",), "all": ("pandas", "pyarrow", "python-dateutil")}
PYTHONS: Final = ("3.11", "3.12", "3.13")
PLATFORMS: Final = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
_COMMON: Final = ("--no-config", "--quiet", "--index-url", "https://pypi.org/simple")
_HEADER: Final = "--custom-compile-command=python -m tests.support.locks"


def project() -> dict[str, Any]:
    """Return the content of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def build_requirements() -> dict[str, list[str]]:
    """Return the packages that building needs, by the name of their lock."""
    return {BUILD: project()["build-system"]["requires"], PAGE: [NODE], INSTALLER: ["uv"]}


def _uv(*args: str) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        sys.exit("uv is missing: expected `pip install uv`")
    subprocess.run([uv, "pip", "compile", *_COMMON, *args], cwd=ROOT, check=True)


def _lock(part: str, source: str, extras: Sequence[str], *more: str) -> None:
    given = [f"--extra={extra}" for extra in extras]
    unused = UNUSED.get(part, ())
    given += [f"--no-emit-package={name}" for name in unused]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as overrides:
        overrides.writelines(f"{name}; sys_platform == 'never'\n" for name in unused)
        overrides.flush()
        given += ["--overrides", overrides.name]
        target = str(LOCKS / f"{part}.txt")
        _uv(
            source,
            *given,
            "--universal",
            "--python-version=3.11",
            "--generate-hashes",
            _HEADER,
            "-o",
            target,
            *more,
        )


def _check_wheels() -> None:
    """Fail when a package has no wheel for a version of Python on a platform."""
    for python in PYTHONS:
        for platform in PLATFORMS:
            places = (f"--python-version={python}", f"--python-platform={platform}")
            with tempfile.NamedTemporaryFile(suffix=".txt") as ignored:
                given = ("pyproject.toml", "--extra=test", "-c", str(LOCKS / "test.txt"), "--upgrade")
                _uv(*given, "--only-binary=:all:", *places, "-o", ignored.name)


def main(argv: Sequence[str]) -> None:
    LOCKS.mkdir(exist_ok=True)
    first, *others = PARTS
    _lock(first, "pyproject.toml", PARTS[first], *argv)
    constraint = ("-c", str(LOCKS / f"{first}.txt"), "--upgrade", "--no-annotate")
    for part in others:
        _lock(part, "pyproject.toml", PARTS[part], *constraint)
    for part, requirements in build_requirements().items():
        with tempfile.NamedTemporaryFile("w", suffix=".in") as file:
            file.write("\n".join(requirements))
            file.flush()
            _lock(part, file.name, (), *constraint)
    _check_wheels()


if __name__ == "__main__":
    main(sys.argv[1:])
