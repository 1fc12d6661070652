"""Instrumented builds of the native core, in a copy of the tree: address and undefined-behaviour sanitizers.

Needs clang with its run time (Debian: clang-14 libclang-rt-14-dev) and Cython. The copy has its own
extension module; a Python with the sanitizers in it (interpreter.c) and the fuzzer (driver.c) run on it, with
the packages of this one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_FOLDERS: Final = ("agent", "indexer", "shim", "tests", "docs")
_CHECKS: Final = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_FLAGS: Final = ("-g", "-O1", "-fno-omit-frame-pointer", "-ffp-contract=off", "-Wno-everything")
#: For the fuzzer. Not its defaults, which trace comparisons, too: a fifth of the time.
_COVERAGE: Final = "-fsanitize-coverage=edge,inline-8bit-counters,pc-table"
#: Python's own leaks are none of ours; `allocator_may_return_null`: as without a sanitizer.
_ASAN: Final = (
    "detect_leaks=0:allocator_may_return_null=1:handle_abort=1:malloc_context_size=4:quarantine_size_mb=32"
)


class BuildError(Exception):
    """A part that the build needs is missing, or it failed; the text is for people."""


class Build:
    """An instrumented copy of the tree in a folder."""

    def __init__(self, folder: Path, *, clang: str = "") -> None:
        self.folder = folder
        self._clang = clang or _clang()
        copy_tree(folder)
        extension(folder, self._clang, *_CHECKS, _COVERAGE, *_FLAGS)
        self.fuzzer = self._program("driver.c", "fuzzer", "-fsanitize=fuzzer")
        self.python = self._program("interpreter.c", "python")

    def environ(self) -> dict[str, str]:
        """Return the environment for both programs."""
        return {
            **environ_of(self.folder),
            "PYTHONMALLOC": "malloc",  # so that each object's memory has an end that is watched
            "ASAN_OPTIONS": _ASAN,
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }

    def _program(self, source: str, name: str, *flags: str) -> Path:
        target = self.folder / name
        library, version = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDVERSION")
        _run(
            *(
                self._clang,
                *_CHECKS,
                *flags,
                *_FLAGS,
                f"-I{_include()}",
                str(ROOT / "tests" / "fuzz" / source),
            ),
            *("-rdynamic", f"-L{library}", f"-Wl,-rpath,{library}", f"-lpython{version}", "-lm", "-ldl"),
            *("-lpthread", "-lutil", "-o", str(target)),
        )
        return target


def copy_tree(folder: Path) -> None:
    """Copy the files that the core and its tests need."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "node_modules", "core.c")
    for name in _FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "meterhouse.py"):
        shutil.copy(ROOT / name, folder / name)


def extension(folder: Path, compiler: str, *flags: str) -> None:
    """Build the native core of a copy. Raises BuildError."""
    native = folder / "agent" / "core" / "_native"
    _run(sys.executable, "-m", "cython", "-3", str(native / "core.pyx"), "-o", str(native / "core.c"))
    target = native / f"core{sysconfig.get_config_var('EXT_SUFFIX')}"
    _run(
        *(compiler, "-shared", "-fPIC", *flags, f"-I{_include()}", f"-I{native}", str(native / "core.c")),
        *("-o", str(target)),
    )


def environ_of(folder: Path) -> dict[str, str]:
    """Return the environment for a Python that is to use a copy, with this one's packages."""
    packages = sysconfig.get_paths()["purelib"]
    return {**os.environ, "PYTHONPATH": f"{folder}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"}


def _include() -> str:
    return sysconfig.get_paths()["include"]


def _clang() -> str:
    for name in ("clang", *(f"clang-{version}" for version in range(21, 13, -1))):
        if path := shutil.which(name):
            return path
    raise BuildError("no clang; Debian: apt-get install clang-14 libclang-rt-14-dev")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{_shown(command)}\n{done.stdout}{done.stderr}")


def _shown(command: Sequence[str]) -> str:
    return " ".join(command)
