"""The subcommand `meterhouse indexer`."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from agent.cli.common import config_option, read_settings, report_error
from agent.cli.log_options import AUTO_OF_SERVERS, SettingsReload, log_options, log_overrides, set_up_logs
from agent.config.load import ConfigError
from agent.settings import LogSettings
from indexer.http.listening_sockets import START_WAIT_S, listen_at_once
from indexer.settings import Settings as IndexerSettings
from indexer.startup_checks import check_start


class IndexerFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings file as the indexer reads it; other parts check their own sections."""

    agent: dict[str, Any] = {}
    indexer: IndexerSettings = IndexerSettings()
    shim: dict[str, Any] = {}
    log: LogSettings = LogSettings()


def indexer(argv: Sequence[str]) -> int:
    """Run `meterhouse indexer` until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="meterhouse indexer", description="Takes frames and messages and writes them into ClickHouse."
    )
    config_option(parser)
    log_options(parser)
    args = parser.parse_args(argv)

    def read() -> IndexerFile:
        return read_settings(IndexerFile, args.config, log_overrides(args))

    try:
        settings = read()
    except ConfigError as e:
        return report_error("indexer", e, 2)
    set_up_logs(settings.log, AUTO_OF_SERVERS)
    try:
        check_start(settings.indexer)
        # Before the imports, a second of work: requests wait in the kernel instead of being refused.
        socks = listen_at_once("indexer.listen", settings.indexer.listen, START_WAIT_S)
    except OSError as e:
        return report_error("indexer", e, 1)
    return _serve(settings.indexer, socks, SettingsReload(settings, read, AUTO_OF_SERVERS))


def _serve(settings: IndexerSettings, socks: list[socket.socket], reload: SettingsReload) -> int:
    from indexer.http.interpreter_lock import switch_often
    from indexer.http.quick_imports import quick_imports

    switch_often()
    with quick_imports():
        from indexer.tables_ready import early_tables
        from indexer.write.journal_file import is_journal_usable

        # Its statements wait for the server while the rest is imported.
        early = early_tables(settings, partial(is_journal_usable, settings))
        import uvloop

        from indexer.clickhouse.store import StoreError
        from indexer.run import run

        if settings.redis_url:  # not needed otherwise
            from indexer.receive import shared_rates  # noqa: F401

    try:
        uvloop.run(run(settings, socks=socks, on_reload=reload, early=early))
    except (OSError, StoreError) as e:
        return report_error("indexer", e, 1)
    return 0
