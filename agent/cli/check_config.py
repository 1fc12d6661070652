"""The subcommand `meterhouse check-config`: checks settings and mapping, and explains lines.

Works with the agent's few dependencies. The caller names the sections of a settings file; a section whose
package cannot be imported here (an installation without extras) is reported as unchecked.

Exit codes: 0 all is right; 1 an explained line would be refused; 2 the settings, the mapping file, the file
of lines or the command line are wrong.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.cli.common import config_option, read_settings, report_error
from agent.cli.explain import Explained, explain, text
from agent.cli.named_files import check_files
from agent.config import toml_writer
from agent.config.errors import in_file, names_of
from agent.config.load import ConfigError
from agent.config.secrets import masked
from agent.mapping.mapper import Mapper
from agent.net import sockets
from agent.settings import AgentSettings, LogSettings

#: Maximum number of lines in `--lines`.
MAX_LINES: Final = 100_000


def check_config(argv: Sequence[str], sections: Mapping[str, tuple[str, str]] | None = None) -> int:
    """Run `meterhouse check-config`; `sections` maps names to (module, struct) besides `[agent]`."""
    args = _parser().parse_args(argv)
    file, unchecked = _settings_file(sections or {})
    try:
        settings = read_settings(file, args.config)
    except ConfigError as e:
        return _fail(args, str(e))
    try:
        report = _Report(settings.agent, unchecked)  # type: ignore[attr-defined]
        check_files(settings)
        lines = [part for line in args.line for part in os.fsencode(line).split(b"\n")]
        lines += _read_lines(args.lines)
    except ConfigError as e:
        return _fail(args, _in_file(str(e), args.config))
    now_ms = int(args.at * 1000) if args.at is not None else time.time_ns() // 1_000_000
    explained = [explain(line, report.settings, report.mapper, now_ms) for line in lines]
    tree = msgspec.to_builtins(settings)
    shown = tree if args.all else _differences(tree, msgspec.to_builtins(file()))
    shown = shown if args.secrets else masked(shown)
    if args.json:
        print(msgspec.json.encode(report.as_json(shown, explained)).decode())
    else:
        print(report.as_text(shown, explained, everything=args.all))
    return 1 if any(one.outcome == "refused" for line in explained for one in line) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterhouse check-config",
        description="Checks settings and mapping file, prints the settings that differ from their defaults, "
        "and explains what lines become.",
        epilog="exit codes: 0 all is right; 1 a line would be refused; 2 settings, mapping or command line "
        "are wrong",
    )
    config_option(parser)
    parser.add_argument("--all", action="store_true", help="print all settings, including defaults")
    parser.add_argument("--secrets", action="store_true", help="print tokens and passwords in clear")
    parser.add_argument("--line", action="append", default=[], metavar="LINE",
                        help="explain what this StatsD line becomes; may be repeated")  # fmt: skip
    parser.add_argument("--lines", metavar="FILE", help="explain the lines of a file; - is standard input")
    parser.add_argument("--at", type=float, metavar="SECONDS",
                        help="Unix time at which the lines arrive (default: now)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    return parser


def _settings_file(sections: Mapping[str, tuple[str, str]]) -> tuple[type[msgspec.Struct], list[str]]:
    """Return the settings file's type, and the sections that cannot be checked here."""
    fields: list[tuple[str, Any, Any]] = [
        ("agent", AgentSettings, AgentSettings()),
        ("log", LogSettings, LogSettings()),
    ]
    unchecked = []
    for name, (module, struct) in sections.items():
        try:
            cls = getattr(importlib.import_module(module), struct)
            fields.append((name, cls, cls()))
        except ModuleNotFoundError:
            unchecked.append(name)
            fields.append((name, dict[str, Any], {}))
    return msgspec.defstruct("File", fields, frozen=True, forbid_unknown_fields=True), unchecked


def _read_lines(path: str | None) -> list[bytes]:
    if not path:
        return []
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None
    lines = data.split(b"\n")
    if len(lines) > MAX_LINES:
        raise ConfigError(f"{path}: too many lines: at most {MAX_LINES} are accepted")
    return lines[:-1] if not lines[-1] else lines


def _fail(args: argparse.Namespace, problem: str) -> int:
    if args.json:
        print(msgspec.json.encode({"error": problem}).decode())
    return report_error("check-config", problem, 2)


def _in_file(problem: str, path: str | None) -> str:
    """Prefix the problem with the line of the settings file that it names, if found."""
    return in_file(problem, path, Path(path).read_text()) if path and names_of(problem) else problem


def _differences(tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of `tree` that differs from `defaults`."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict) and default:
            if below := _differences(value, default):
                out[key] = below
        elif value != default:
            out[key] = value
    return out


def _check_addresses(settings: AgentSettings) -> None:
    """Raise AddressError for an address that no machine could bind or connect to."""
    given = {"udp": settings.udp, "tcp": settings.tcp, "ops": settings.ops}
    given |= {"relay.address": settings.relay.address, "relay.events": settings.relay.events}
    for name, address in given.items():
        if address and "/" not in address:  # a path is a Unix socket's
            sockets.split_host_port(f"agent.{name}", address)
    for url in settings.forward.targets:
        sockets.split_url("agent.forward.urls" if settings.forward.urls else "agent.forward.url", url)


class _Report:
    """The result of the checks, as text or JSON. Raises ConfigError."""

    def __init__(self, settings: AgentSettings, unchecked: Sequence[str]) -> None:
        self.settings = settings
        self.mapper: Mapper | None = None
        self._unchecked = unchecked
        self._notes: list[dict[str, Any]] = []
        try:
            _check_addresses(settings)
        except sockets.AddressError as e:
            raise ConfigError(str(e)) from None
        if settings.mapping:
            from agent.mapping import config_file  # imported only where a mapping is set: it needs PyYAML

            file = config_file.read(settings.mapping, settings.lines.timer_unit)
            self.mapper = file.mapper(settings.lines)
            self._notes = [msgspec.to_builtins(note) for note in file.notes]

    def as_json(self, shown: Mapping[str, Any], explained: Sequence[Sequence[Explained]]) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        out: dict[str, Any] = {"settings": shown, "unchecked": list(self._unchecked)}
        if self.mapper:
            out["mapping"] = {
                "file": self.settings.mapping, "rules": len(self.mapper.rules), "notes": self._notes,
            }  # fmt: skip
        out["lines"] = [one for line in explained for one in line]
        return out

    def as_text(
        self, shown: Mapping[str, Any], explained: Sequence[Sequence[Explained]], *, everything: bool
    ) -> str:
        """Return the settings as TOML, with notes as comments, then the explained lines."""
        said = []
        if not everything:
            said.append(
                "# settings that differ from their defaults"
                if shown
                else "# all settings are at their defaults"
            )
        said += [toml_writer.dumps(shown)] if shown else []
        said += [f"# [{name}] is not checked: its package is not installed" for name in self._unchecked]
        if self.mapper:
            said.append(f"# mapping {self.settings.mapping}: {len(self.mapper.rules)} entries")
            said += [f"# line {note['line']}: {note['text']}" for note in self._notes]
        for line in explained:
            said += ["", text(line)]
        return "\n".join(said)
