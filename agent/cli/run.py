"""The subcommand `meterhouse agent`."""

from __future__ import annotations

import argparse
import contextlib
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from agent import service
from agent.cli.common import config_option, read_settings, report_error
from agent.cli.log_options import AUTO_OF_AGENT, SettingsReload, log_options, log_overrides, set_up_logs
from agent.config.load import ConfigError
from agent.net.sockets import START_WAIT_S
from agent.runtime.loop import Loop
from agent.runtime.reload_actions import ReloadAction
from agent.runtime.service_manager import ServiceManager
from agent.settings import AgentSettings, LogSettings


class AgentFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings file as the agent reads it; other parts check their own sections."""

    agent: AgentSettings = AgentSettings()
    indexer: dict[str, Any] = {}
    shim: dict[str, Any] = {}
    log: LogSettings = LogSettings()


def agent(argv: Sequence[str]) -> int:
    """Run `meterhouse agent` until SIGTERM or SIGINT; return 0 if everything received was also sent."""
    parser = argparse.ArgumentParser(
        prog="meterhouse agent",
        description="Takes StatsD lines, aggregates them, forwards frames to an indexer.",
    )
    config_option(parser)
    log_options(parser)
    parser.add_argument(
        "--parent", type=int, help=argparse.SUPPRESS
    )  # a socket, see shim/allinone/agent_process.py
    args = parser.parse_args(argv)

    def read() -> AgentFile:
        return read_settings(AgentFile, args.config, log_overrides(args))

    try:
        settings = read()
    except ConfigError as e:
        return report_error("agent", e, 2)
    set_up_logs(settings.log, AUTO_OF_AGENT)
    try:
        return _run(settings, read, args.parent)
    except ConfigError as e:  # the mapping file
        return report_error("agent", e, 2)
    except OSError as e:
        return report_error("agent", e, 1)


def _run(settings: AgentFile, read: Callable[[], AgentFile], parent: int | None) -> int:
    actions = {"settings": SettingsReload(settings, read, AUTO_OF_AGENT)}
    if parent is not None:
        return _run_as_child(settings.agent, parent, actions)
    manager = ServiceManager.of_environment()
    return service.run(settings.agent, start_wait_s=START_WAIT_S, manager=manager, on_reload=actions)


def _run_as_child(settings: AgentSettings, parent: int, on_reload: Mapping[str, ReloadAction]) -> int:
    """Run, report the listening addresses to the parent's socket, and stop when the parent is gone."""
    orphaned = threading.Event()
    with socket.socket(fileno=parent) as channel, Loop() as loop:

        def gone() -> None:
            if not channel.recv(1):
                loop.remove_reader(channel)
                orphaned.set()
                loop.stop()

        def ready(at: service.Addresses) -> None:
            with contextlib.suppress(BrokenPipeError):  # the loop notices that, too
                channel.sendall(msgspec.json.encode(at) + b"\n")

        loop.add_reader(channel, gone)
        return service.run(
            settings,
            ready=ready,
            loop=loop,
            start_wait_s=START_WAIT_S,
            orphaned=orphaned.is_set,
            on_reload=on_reload,
        )
