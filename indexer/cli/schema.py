"""The subcommand `meterhouse schema`: prints the tables as SQL, or makes them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing

from agent.cli.common import config_option, read_settings, report_error
from agent.config.load import ConfigError
from indexer.cli.serve import IndexerFile
from indexer.clickhouse.dsn import DEFAULT_DATABASE
from indexer.clickhouse.schema import Layout, applied_versions, make_on_this_node, migrate, statements
from indexer.clickhouse.store import StoreError, open_store
from indexer.settings import Settings


def schema(argv: Sequence[str]) -> int:
    """Run `meterhouse schema`: print every statement that makes a new database, or make the tables."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.action == "print" and (args.dsn or args.this_node):
        parser.error("--dsn and --this-node are options of `meterhouse schema apply`")
    if args.action == "apply" and args.database:
        parser.error("--database is an option of `meterhouse schema print`: --dsn names the database")
    try:
        settings = read_settings(IndexerFile, args.config).indexer
    except ConfigError as e:
        return report_error("schema", e, 2)
    cluster = args.cluster or settings.cluster
    if args.this_node and not cluster:
        parser.error("--this-node: expected --cluster NAME, or the setting indexer.cluster")
    if args.action == "print":
        layout = Layout(args.database or DEFAULT_DATABASE, cluster, retention=settings.retention)
        for statement in statements(layout):
            print(f"{statement.text};\n")
        return 0
    try:
        version = _apply(settings, args.dsn or settings.dsn, cluster, this_node=args.this_node)
    except StoreError as e:
        return report_error("schema", e, 1)
    print(f"the tables have version {version}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterhouse schema",
        description="Prints the tables and views as SQL, as the indexer creates them. `apply` makes and"
        " upgrades them, as the indexer does at its start, and exits.",
    )
    config_option(parser)
    parser.add_argument(
        "action", nargs="?", choices=("print", "apply"), default="print", help="default %(default)s"
    )
    parser.add_argument(
        "--cluster", metavar="NAME", help="for this cluster (default: the settings', else one node)"
    )
    parser.add_argument("--database", metavar="NAME", help=f"print: default {DEFAULT_DATABASE}")
    parser.add_argument("--dsn", metavar="DSN", help="apply: where (default: the setting indexer.dsn)")
    parser.add_argument(
        "--this-node",
        action="store_true",
        help="apply: make a cluster's tables on the node of the DSN alone: for a node that joins",
    )
    return parser


def _apply(settings: Settings, dsn: str, cluster: str | None, *, this_node: bool) -> int:
    """Make the tables, and keep the retention of those that exist. Raises StoreError."""
    with closing(open_store(dsn, pool=1, cluster=None if this_node else cluster)) as store:
        if this_node:
            return make_on_this_node(store, cluster or "")
        if applied_versions(store):
            return migrate(store)
        return migrate(store, settings.retention, settings.limits.retention_steps)
