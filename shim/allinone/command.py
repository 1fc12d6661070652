"""The subcommand `meterhouse up`: its options and settings, and the first line that it prints.

Imports little: the line is there before ClickHouse opens.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.cli.common import address, config_option, read_settings, report_error
from agent.cli.log_options import AUTO_OF_SERVERS, SettingsReload, log_options, log_overrides, set_up_logs
from agent.config.load import ConfigError
from agent.config.secrets import masked_url
from agent.runtime.logs import Log
from shim.cli.serve import File


def up(argv: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT; return 0 if everything accepted is stored."""
    args = _parser().parse_args(argv)
    # Until `serve` handles it: raised in a callback of an import, KeyboardInterrupt would be dropped.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return _serve(args)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _serve(args: argparse.Namespace) -> int:
    over = _overrides(args) | log_overrides(args)

    def read() -> File:
        return read_settings(File, args.config, over)

    try:
        settings = read()
        set_up_logs(settings.log, AUTO_OF_SERVERS)
        _say_start(settings)
        from shim.allinone.up import check_ages, serve

        check_ages(settings)
    except ConfigError as e:
        return report_error("up", e, 2)
    arguments = ["--config", args.config] if args.config else []
    reload = SettingsReload(settings, read, AUTO_OF_SERVERS)
    return serve(settings, arguments, {**os.environ, **over}, reload)


def _say_start(settings: File) -> None:
    """Print the first line; where programs read the lines, it is one of the log."""
    opens = masked_url(settings.indexer.dsn)
    if settings.log.format == "json":
        Log("shim.start").info("starting", opens=opens)
    else:
        print(f"meterhouse: starting, opens {opens}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterhouse up", description="Runs agent, indexer and API together on an embedded ClickHouse."
    )
    config_option(parser)
    log_options(parser)
    parser.add_argument("--data", type=Path, metavar="DIR", help="where the data lives (default ./data)")
    parser.add_argument("--statsd", type=_listen, metavar="HOST:PORT", help="for lines, UDP and TCP")
    parser.add_argument("--indexer", type=_listen, metavar="HOST:PORT", help="for frames and messages")
    parser.add_argument("--api", type=_listen, metavar="HOST:PORT", help="for Prometheus' HTTP API")
    parser.add_argument("--ops", type=_listen, metavar="HOST:PORT", help="for the agent's own metrics")
    return parser


def _listen(text: str) -> str:
    address(text, min_port=0)
    return text


def _overrides(args: argparse.Namespace) -> dict[str, str]:
    """Return the options as environment variables, which the child also reads."""
    said = {
        "METERHOUSE_AGENT__UDP": args.statsd,
        "METERHOUSE_AGENT__TCP": args.statsd,
        "METERHOUSE_INDEXER__LISTEN": args.indexer,
        "METERHOUSE_INDEXER__DSN": f"chdb://{(args.data / 'chdb').resolve()}" if args.data else None,
        "METERHOUSE_SHIM__LISTEN": args.api,
        "METERHOUSE_AGENT__OPS": args.ops,
    }
    return {name: value for name, value in said.items() if value is not None}
