"""The subcommand `meterhouse repair`: derives damaged rollups and names the rest."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Final

from agent.cli.common import config_option, read_settings, report_error
from agent.config.load import ConfigError
from indexer.cli.serve import IndexerFile
from indexer.cli.verify import open_stored
from indexer.clickhouse.schema.database_id import note_id
from indexer.clickhouse.schema.tables import HEARTBEATS
from indexer.clickhouse.store import Store, StoreError
from indexer.integrity.repairer import Repairer, RepairError, steps
from indexer.integrity.verifier import Verifier
from indexer.integrity.verify_statements import PAIRS
from indexer.settings import Settings
from indexer.write.journal import JournalError
from indexer.write.journal_file import unstored_batches

#: An indexer notes heartbeats every few seconds.
_HEARD_S: Final = 30


def repair(argv: Sequence[str]) -> int:
    """Run `meterhouse repair`: 0 if all is right now, 1 if faults remain, 2 if it could not run."""
    parser = argparse.ArgumentParser(
        prog="meterhouse repair",
        description="Makes rollups again from finer ones where `meterhouse verify` says that it can."
        " Stop all indexers first. Without --yes it says what it would do, and changes nothing. Safe to"
        " interrupt and to run again. Does not repair a cluster. Exit code 0: nothing is wrong;"
        " 1: something still is; 2: it could not run.",
    )
    config_option(parser)
    parser.add_argument("--yes", action="store_true", help="do it")
    args = parser.parse_args(argv)
    try:
        settings = read_settings(IndexerFile, args.config).indexer
        if settings.cluster is not None:
            raise RepairError("indexer.cluster: rollups of a cluster are not repaired: expected one node")
        with closing(open_stored(settings)) as store:
            if args.yes:
                _check_quiet(settings, store)
                _act(settings, store)
            return _rest(settings, store, acted=args.yes)
    except (ConfigError, StoreError, RepairError, JournalError) as e:
        return report_error("repair", e, 2)


def _act(settings: Settings, store: Store) -> None:
    """Derive from the finest rollup on, and have the catalog written again."""
    verifier = Verifier(store, settings.retention, quiet=store.embedded)
    repairer = Repairer(store, settings.retention, verifier.today)
    repairer.clean()
    for pair in PAIRS:
        for step in steps(list(verifier.rollups(pair))):
            repairer.do(step)
            print(f"derived {step}", flush=True)
    if any(True for _ in verifier.catalog()):
        note_id(store)
        print("caches are made new: the next frames of each agent bring their series and strings again")


def _rest(settings: Settings, store: Store, *, acted: bool) -> int:
    """Print the findings and the planned steps."""
    findings = list(Verifier(store, settings.retention, quiet=store.embedded).all())
    for finding in findings:
        print(finding)
    for step in [] if acted else steps(findings):
        print(f"would derive {step}")
    if not findings:
        print("nothing is wrong")
    elif not acted:
        print("nothing was changed: --yes does it, and then looks at what follows from it")
    return 1 if findings else 0


def _check_quiet(settings: Settings, store: Store) -> None:
    """Raise RepairError where rows may still come to one rollup and not to another."""
    if waiting := unstored_batches(settings, time.time_ns() // 1_000_000):
        raise RepairError(
            f"{waiting} batches in the journal are not stored: expected none: start the indexer, which"
            " stores them, or see `meterhouse set-aside list`"
        )
    if not store.embedded:
        since_ms = (int(time.time()) - _HEARD_S) * 1000
        ((heard,),) = store.rows(
            f"SELECT count() FROM {HEARTBEATS} WHERE heard_ms > {since_ms} AND ended = 0"
        )
        if heard:
            raise RepairError(f"indexers heard of agents in the last {_HEARD_S} s: stop all indexers first")
