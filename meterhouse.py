"""The command `meterhouse`: finds the subcommand's module, and leaves the rest to it.

Imports nothing but the standard library, so that `meterhouse agent` starts with the agent's few dependencies
alone: a subcommand's module is imported when it is called. Each is a function `(argv) -> exit code` of the
subcommand's name in the package it belongs to.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Final

#: name -> (module, description, the extra of the distribution that it needs)
COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "up": (
        "shim.allinone.command",
        "run everything, on an embedded ClickHouse: agent, indexer, API",
        "all",
    ),
    "agent": ("agent.cli.run", "receive StatsD lines and forward them to an indexer", ""),
    "indexer": ("indexer.cli.serve", "receive frames and write them into ClickHouse", "indexer"),
    "shim": ("shim.cli.serve", "answer Prometheus' HTTP API from ClickHouse", "shim"),
    "backfill": ("agent.cli.backfill", "send a file of old lines, exactly once", ""),
    "demo": ("agent.cli.demo", "send a web shop's traffic, and print the exact numbers sent", ""),
    "query": ("shim.cli.query", "ask a running API, print a table and a chart", ""),
    "tail": ("shim.cli.tail", "print the values of each new bucket of a metric", ""),
    "top": ("shim.cli.top", "print the metrics with the most series", ""),
    "export": ("shim.cli.export", "write the values of metrics into a file", ""),
    "delete": ("shim.cli.delete", "delete the samples of series, by a running API", ""),
    "explain": ("shim.cli.query", "print the plan and the SQL of a query", ""),
    "check-config": (
        "agent.cli.check_config",
        "check settings and mapping, explain the result of a line",
        "",
    ),
    "healthcheck": ("agent.cli.healthcheck", "ask whether the running parts are ready, for containers", ""),
    "check-rules": ("shim.cli.check_rules", "check rule files of Prometheus", "shim"),
    "test-rules": ("shim.cli.test_rules", "run unit tests of rules, as promtool does", "shim"),
    "rules": ("shim.cli.rules", "evaluate recording rules over the past", ""),
    "token": ("indexer.cli.token", "make a token or password, and its line for the settings", ""),
    "set-aside": (
        "indexer.cli.set_aside",
        "list, show, retry or drop batches that could not be stored",
        "indexer",
    ),
    "verify": ("indexer.cli.verify", "check the stored data, report faults", "indexer"),
    "repair": ("indexer.cli.repair", "derive faulty rollups again from finer ones", "indexer"),
    "completion": ("shim.cli.completion", "print the completion of a shell", "cli"),
    "doctor": ("indexer.cli.doctor", "examine a ClickHouse server or cluster, and say what to do", "indexer"),
    "schema": ("indexer.cli.schema", "print the tables as SQL, or make and upgrade them", "indexer"),
}
#: Sections of the settings file beside [agent] -> (module, struct), for commands that are the agent's.
SECTIONS: Final = {
    "indexer": ("indexer.settings", "Settings"),
    "shim": ("shim.settings", "ShimSettings"),
}
#: Subcommand -> arguments of its function besides the command line.
WANTS: Final[dict[str, tuple[object, ...]]] = {
    "check-config": (SECTIONS,),
    "healthcheck": (SECTIONS,),
    "completion": (COMMANDS,),
}
OURS: Final = ("agent", "indexer", "shim")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    0: done; 1: it failed; 2: the command line or the settings are wrong; 130: interrupted by Ctrl-C.
    """
    if sys.stderr is not None and not faulthandler.is_enabled():
        faulthandler.enable()  # a crash of compiled code names the place
    try:
        return _run(argv)
    except BrokenPipeError:  # `meterhouse schema | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    name: str | None = args.command
    if args.version or name == "version":
        print(f"meterhouse {version()}")
        return 0
    if name is None:
        parser.print_help(sys.stderr)
        return 2
    if name not in COMMANDS:
        parser.error(_unknown(name))
    module, _, extra = COMMANDS[name]
    try:
        command = getattr(_imported(module), name.replace("-", "_"))
        code: int = command(args.arguments, *WANTS.get(name, ()))
    except ModuleNotFoundError as e:
        if (e.name or "").split(".")[0] in OURS:
            raise
        wanted = f"meterhouse[{extra or 'all'}]"
        print(f"meterhouse {name}: {e.name} is not installed; try: pip install '{wanted}'", file=sys.stderr)
        return 1
    sys.stdout.flush()
    return code


def _imported(module: str) -> ModuleType:
    """Import a module. The garbage collector need not look at modules again and again: none goes away."""
    collected = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if not gc.get_freeze_count():  # once: garbage that is there now is never collected
            gc.freeze()
        if collected:
            gc.enable()


def version() -> str:
    """Return the version of the installed distribution."""
    from agent.runtime.program_version import UNKNOWN, program_version

    found = program_version()
    return "of a tree that is not installed" if found == UNKNOWN else found


def _unknown(name: str) -> str:
    """Describe an unknown command, with the one that was meant."""
    from difflib import get_close_matches

    close = get_close_matches(name[:100], COMMANDS, 1, 0.6)
    hint = f"did you mean {close[0]}?" if close else f"expected {', '.join(COMMANDS)}"
    return f"{name!r} is not a command: {hint}"


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {does}" for name, (_, does, _) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="meterhouse",
        description="StatsD in, ClickHouse inside, PromQL out.",
        epilog=f"commands:\n{commands}\n\n`meterhouse COMMAND --help` shows the options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="store_true", help="print the version and exit")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of the commands below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
