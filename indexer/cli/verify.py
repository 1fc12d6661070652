"""The subcommand `meterhouse verify`: reports faults in the stored data and changes nothing."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Final

from agent.cli.common import config_option, read_settings, report_error
from agent.config.load import ConfigError
from indexer.cli.serve import IndexerFile
from indexer.clickhouse.store import Store, StoreError, embedded_path, open_store
from indexer.integrity.verifier import Verifier
from indexer.settings import Settings
from indexer.write.journal import JournalError
from indexer.write.journal_file import unstored_batches

#: Beside a running indexer, younger batches are being written.
_WRITTEN_MS: Final = 60_000


def verify(argv: Sequence[str]) -> int:
    """Run `meterhouse verify`: 0 without findings, 1 with findings, 2 if it could not run."""
    parser = argparse.ArgumentParser(
        prog="meterhouse verify",
        description="Looks for detached parts, rollups that disagree, series without strings and samples"
        " without series. Changes nothing, and warns of batches in the journal that are not stored. Exit"
        " code 0: nothing is wrong; 1: findings; 2: it could not look.",
    )
    config_option(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON document of all findings")
    args = parser.parse_args(argv)
    findings = []
    try:
        settings = read_settings(IndexerFile, args.config).indexer
        with closing(open_stored(settings)) as store:
            unstored = _unstored(settings, embedded=store.embedded)
            for finding in Verifier(store, settings.retention, quiet=store.embedded).all():
                findings.append(finding)
                if not args.json:
                    print(finding, flush=True)
    except (ConfigError, StoreError) as e:
        return report_error("verify", e, 2)
    if args.json:
        document = {"findings": [one.public() for one in findings], "unstored_batches": unstored}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    elif not findings:
        print("nothing is wrong")
    return 1 if findings else 0


def _unstored(settings: Settings, *, embedded: bool) -> int | None:
    """Return how many batches in the journal are not stored, and warn of them; None: not known."""
    try:
        unstored = unstored_batches(settings, time.time_ns() // 1_000_000 - (0 if embedded else _WRITTEN_MS))
    except JournalError as e:
        print(f"verify: warning: the journal cannot be read: {e}", file=sys.stderr)
        return None
    if unstored:
        print(
            f"verify: warning: {unstored} batches in the journal are not stored. They may be in one rollup"
            " and not in another: start the indexer, which stores them, or see `meterhouse set-aside list`",
            file=sys.stderr,
        )
    return unstored


def open_stored(settings: Settings) -> Store:
    """Return the open store of the settings if its tables exist. Raises StoreError."""
    data = embedded_path(settings.dsn)
    if data is not None and not data.exists():
        raise StoreError(
            f"indexer.dsn: there is no data at {data}: expected that of an indexer", retryable=False
        )
    store = open_store(settings.dsn, pool=1, cluster=settings.cluster)
    try:
        store.rows("SELECT version FROM schema_migrations LIMIT 1")
    except StoreError:
        store.close()
        raise
    return store
