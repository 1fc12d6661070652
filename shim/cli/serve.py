"""The subcommand `meterhouse shim`, and the whole settings file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import msgspec

from agent.cli.common import config_option, read_settings, report_error
from agent.cli.log_options import AUTO_OF_SERVERS, SettingsReload, log_options, log_overrides, set_up_logs
from agent.config.load import ConfigError
from agent.settings import AgentSettings, LogSettings
from indexer.settings import Settings as IndexerSettings
from shim.settings import ShimSettings


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole settings file."""

    agent: AgentSettings = AgentSettings()
    indexer: IndexerSettings = IndexerSettings()
    shim: ShimSettings = ShimSettings()
    log: LogSettings = LogSettings()


def shim(argv: Sequence[str]) -> int:
    """Run `meterhouse shim` until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="meterhouse shim", description="Answers Prometheus' HTTP API.")
    config_option(parser)
    log_options(parser)
    args = parser.parse_args(argv)

    def read() -> File:
        return read_settings(File, args.config, log_overrides(args))

    try:
        settings = read()
    except ConfigError as e:
        return report_error("shim", e, 2)
    set_up_logs(settings.log, AUTO_OF_SERVERS)
    from indexer.http.quick_imports import quick_imports

    with quick_imports():
        import uvloop

        from indexer.clickhouse.store import StoreError
        from indexer.http.interpreter_lock import switch_often
        from shim.service import run

    try:
        switch_often()
        uvloop.run(run(settings.shim, on_reload=SettingsReload(settings, read, AUTO_OF_SERVERS)))
    except (OSError, StoreError) as e:
        return report_error("shim", e, 1)
    return 0
