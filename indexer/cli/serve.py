"""The subcommands `meterhouse indexer` and `meterhouse schema`."""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from agent.cli.common import config_option, read_settings, report_error
from agent.config.load import ConfigError
from indexer.http.listening_sockets import START_WAIT_S, listen
from indexer.settings import Settings as IndexerSettings


class IndexerFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings file as the indexer reads it; other parts check their own sections."""

    agent: dict[str, Any] = {}
    indexer: IndexerSettings = IndexerSettings()
    shim: dict[str, Any] = {}


def indexer(argv: Sequence[str]) -> int:
    """Run `meterhouse indexer` until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="meterhouse indexer", description="Takes frames and messages and writes them into ClickHouse."
    )
    config_option(parser)
    args = parser.parse_args(argv)
    try:
        settings = read_settings(IndexerFile, args.config).indexer
    except ConfigError as e:
        return report_error("indexer", e, 2)
    try:
        # Before the imports, a second of work: requests wait in the kernel instead of being refused.
        socks = asyncio.run(listen("indexer.listen", settings.listen, START_WAIT_S))
    except OSError as e:
        return report_error("indexer", e, 1)
    return _serve(settings, socks)


def _serve(settings: IndexerSettings, socks: list[socket.socket]) -> int:
    import uvloop

    from indexer.clickhouse.store import StoreError
    from indexer.http.interpreter_lock import switch_often
    from indexer.run import run

    try:
        switch_often()
        uvloop.run(run(settings, socks=socks))
    except (OSError, StoreError) as e:
        return report_error("indexer", e, 1)
    return 0


def schema(argv: Sequence[str]) -> int:
    """Run `meterhouse schema`: print every statement that creates a new database."""
    parser = argparse.ArgumentParser(
        prog="meterhouse schema",
        description="Prints the tables and views as SQL, as the indexer creates them.",
    )
    config_option(parser)
    parser.add_argument(
        "--cluster", metavar="NAME", help="for this cluster (default: the settings', else one node)"
    )
    parser.add_argument("--database", default="meterhouse", metavar="NAME", help="default %(default)s")
    args = parser.parse_args(argv)
    try:
        settings = read_settings(IndexerFile, args.config).indexer
    except ConfigError as e:
        return report_error("schema", e, 2)
    from indexer.clickhouse.schema import Layout, statements

    layout = Layout(args.database, args.cluster or settings.cluster, retention=settings.retention)
    for statement in statements(layout):
        print(f"{statement};\n")
    return 0
