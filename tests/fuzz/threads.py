"""Looks for data races in the native core, with ThreadSanitizer.

    python -m tests.fuzz.threads [--seconds 20] [--threads 3]

Builds the core with `gcc -fsanitize=thread` in a copy of the tree, and runs tests/fuzz/threads_driver.py
there, in a Python that has the sanitizer's run time loaded. Any report is a failure. Python itself is not
built so: the core is watched, and the memory that it shares with Python.

Needs gcc with libtsan (Debian: gcc) and Cython.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.fuzz.build import BuildError, copy_tree, environ_of, extension

_FLAGS: Final = ("-fsanitize=thread", "-g", "-O1", "-fno-omit-frame-pointer", "-ffp-contract=off", "-w")
#: Of a process with a report, whatever it would have said itself.
_REPORTED: Final = 66
_OPTIONS: Final = f"exitcode={_REPORTED}:history_size=5:second_deadlock_stack=1"


def runtime(compiler: str) -> str:
    """Return the sanitizer's shared library. Raises BuildError."""
    asked = (compiler, "-print-file-name=libtsan.so")
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(found).is_absolute():  # gcc gives the bare name back if it has none
        raise BuildError("no libtsan; Debian: apt-get install gcc libtsan2")
    return found


def drive(folder: Path, library: str, seconds: float, threads: int) -> bool:
    """Run the driver on a built copy; True if there was no report."""
    environ = {**environ_of(folder), "LD_PRELOAD": library, "TSAN_OPTIONS": _OPTIONS}
    # The sanitizer wants memory at addresses that a random layout may have taken.
    command = ["setarch", "-R", sys.executable, "-m", "tests.fuzz.threads_driver", str(seconds), str(threads)]
    done = subprocess.run(command, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True, check=False)
    reports = done.stderr.count("WARNING: ThreadSanitizer")
    sys.stdout.write(f"{reports} reports, exit code {done.returncode}\n")
    if done.returncode or reports:
        sys.stdout.write(done.stderr[:20_000])
    return not (done.returncode or reports)


def main() -> int:
    parser = argparse.ArgumentParser(description="Looks for data races in the native core.")
    parser.add_argument("--seconds", type=float, default=20.0, help="default %(default)s")
    parser.add_argument("--threads", type=int, default=3, help="that receive (default %(default)s)")
    parser.add_argument("--keep", type=Path, help="an empty folder for the build")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        try:
            compiler = shutil.which("gcc")
            if compiler is None:
                raise BuildError("no gcc; Debian: apt-get install gcc")
            library = runtime(compiler)
            copy_tree(folder)
            extension(folder, compiler, *_FLAGS)
        except BuildError as e:
            sys.stderr.write(f"{e}\n")
            return 2
        return 0 if drive(folder, library, options.seconds, options.threads) else 1


if __name__ == "__main__":
    sys.exit(main())
