"""The subcommand `meterhouse completion`: prints a shell's completion of all commands and options.

shtab writes it from the parsers. Each command makes its parser when it is called, so the parsers are taken
from there: a command is called, and stopped before it parses.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import shtab

SHELLS: Final = ("bash", "zsh", "tcsh")
#: Options and arguments that are files, by their destination.
_FILES: Final = frozenset({"config", "data", "file", "files", "json", "lines", "token_file", "ca", "state"})


class _ParserFound(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def completion(argv: Sequence[str], commands: Mapping[str, tuple[str, str, str]]) -> int:
    """Run `meterhouse completion`; `commands` are those of meterhouse.py."""
    parser = argparse.ArgumentParser(
        prog="meterhouse completion",
        description='Prints the completion of a shell. bash: add `eval "$(meterhouse completion bash)"` to'
        " ~/.bashrc; zsh: write it to a file _meterhouse in a directory of $fpath.",
    )
    parser.add_argument("shell", choices=SHELLS)
    args = parser.parse_args(argv)
    print(shtab.complete(whole_parser(commands, parser), args.shell))
    return 0


def whole_parser(
    commands: Mapping[str, tuple[str, str, str]], own: argparse.ArgumentParser
) -> argparse.ArgumentParser:
    """Return one parser with all commands that can be imported here; `own` is that of completion."""
    whole = argparse.ArgumentParser(prog="meterhouse")
    whole.add_argument("-V", "--version", action="store_true", help="print the version and exit")
    below = whole.add_subparsers()
    for name, (module, does, _) in commands.items():
        found = own if name == "completion" else _parser_of(name, module)
        if found is not None:
            added = below.add_parser(name, parents=[found], add_help=False, help=does)
            for action in added._actions:  # noqa: SLF001 - shtab's way to mark files
                if action.dest in _FILES and not action.choices and action.nargs != 0:
                    action.complete = shtab.FILE  # type: ignore[attr-defined]
    return whole


def _parser_of(name: str, module: str) -> argparse.ArgumentParser | None:
    """Return the parser of a command; None where its packages are not installed."""
    try:
        command = getattr(importlib.import_module(module), name.replace("-", "_"))
    except ModuleNotFoundError:
        return None
    with _stopped_before_parsing():
        try:
            command([])
        except _ParserFound as found:
            return found.parser
    return None


@contextmanager
def _stopped_before_parsing() -> Iterator[None]:
    """Raise _ParserFound in place of parsing."""

    def found(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        raise _ParserFound(parser)

    before = argparse.ArgumentParser.parse_args
    argparse.ArgumentParser.parse_args = found  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_args = before  # type: ignore[method-assign]
