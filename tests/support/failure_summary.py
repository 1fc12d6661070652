"""The end of a run's output: each failure in a few lines, and the crashes of workers.

Logs of CI are often cut to their end. So a run ends with every failure and its
error, in about 10 KB, whatever the tracebacks before them take.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprFileLocation

from indexer.clickhouse.crash_signals import kept_signals

#: Characters of all failures together.
MAX_CHARACTERS: Final = 9_000
MAX_LINES: Final = 8
MAX_LINE: Final = 160
MAX_CRASH_LINES: Final = 25

_CRASH_FILE = pytest.StashKey[IO[str]]()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let a crash end the process at once, and write where it was into a file that the controller reads.

    chdb would replace the handlers of faulthandler.
    """
    if config.option.numprocesses and not hasattr(config, "workerinput"):
        return  # the controller runs no tests
    if hasattr(config, "workerinput"):
        file = Path(config.option.basetemp).with_suffix(".crash").open("w")
        config.stash[_CRASH_FILE] = file
        faulthandler.enable(file)
    with kept_signals():
        import chdb  # noqa: F401


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the file of crashes."""
    if _CRASH_FILE in config.stash:
        faulthandler.disable()
        config.stash[_CRASH_FILE].close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Print everything else, then each failure in a few lines."""
    yield
    failures = [
        (kind, report)
        for kind in ("failed", "error")
        for report in terminalreporter.stats.get(kind, [])
        if isinstance(report, pytest.TestReport)
    ]
    for line in (*crashes(terminalreporter.config), *summary(failures)):
        terminalreporter.write_line(line)


def crashes(config: pytest.Config) -> list[str]:
    """Return the stacks that faulthandler wrote for workers that crashed."""
    base = config.option.basetemp
    found = sorted(Path(base).glob("*.crash")) if base else []
    return [
        line
        for file in found
        if (said := file.read_text(errors="replace").splitlines())
        for line in (f"=== crash of {file.stem}", *said[:MAX_CRASH_LINES])
    ]


def summary(failures: Sequence[tuple[str, pytest.TestReport]]) -> list[str]:
    """Return details of the failures whose errors differ, within the bound; then a line for each failure."""
    details, names = list[str](), list[str]()
    seen = set[str]()
    for kind, report in failures:
        error, said = told(report)
        names.append(f"{kind.upper()} {report.nodeid} - {error}")
        if error not in seen:
            seen.add(error)
            details += [
                f"=== {report.nodeid} ({report.when}{_worker(report)}, {report.duration:.1f} s)",
                *said,
            ]
    left, kept = MAX_CHARACTERS, list[str]()
    for line in details:
        left -= len(line) + 1
        if left < 0:
            kept.append("... the others are above")
            break
        kept.append(line)
    return [*kept, *names]


def told(report: pytest.TestReport) -> tuple[str, list[str]]:
    """Return the error in a line; and its causes, places in tests, last lines of the log, and its text."""
    longrepr = report.longrepr
    if not isinstance(longrepr, ExceptionChainRepr):
        lines = _cut(str(longrepr).splitlines()[-MAX_LINES:])
        return lines[-1] if lines else "no text", lines
    found = [
        (_place(crash), crash.message.splitlines()) for _, crash, _ in longrepr.chain if crash is not None
    ]
    if not found:
        return "no text", []
    causes = [f"{place}: {''.join(message[:1])}" for place, message in found[:-1]]
    calls = [f"in {_place(entry.reprfileloc)}" for entry in _calls(longrepr)]
    logs = [*report.caplog.splitlines()[-3:], *report.capstderr.splitlines()[-3:]]
    place, message = found[-1]
    text = [f"{place}: {''.join(message[:1])}", *message[1:MAX_LINES]]
    return "".join(_cut(message[:1])), _cut([*causes, *calls[-3:], *logs, *text])


def _calls(longrepr: ExceptionChainRepr) -> list[Any]:
    """Return the frames that are in tests."""
    entries = getattr(longrepr.chain[-1][0], "reprentries", [])
    places = [entry for entry in entries if getattr(entry, "reprfileloc", None)]
    return [entry for entry in places if entry.reprfileloc.path.startswith("tests/")]


def _cut(lines: Sequence[str]) -> list[str]:
    return [line[:MAX_LINE] for line in lines if line.strip()]


def _place(of: ReprFileLocation) -> str:
    return f"{'/'.join(Path(of.path).parts[-3:])}:{of.lineno}"


def _worker(report: pytest.TestReport) -> str:
    node = getattr(report, "node", None)  # of xdist
    return f" in {node.gateway.id}" if node is not None else ""
