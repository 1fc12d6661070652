"""Runs checks over a store, one after another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from indexer.clickhouse.store import Store, StoreError
from indexer.diagnosis.check import DoctorCheck, Judgement, Surroundings, failed, skipped

#: ClickHouse's codes: tables, databases and columns that a server lacks.
_ABSENT: Final = frozenset({16, 47, 60, 81})
#: ... a statement that it does not know.
_UNKNOWN: Final = frozenset({48, 62})
_FORBIDDEN: Final = frozenset({164, 497})
_SYSTEM_TABLE: Final = re.compile(r"system\.\w+")


@dataclass(frozen=True, slots=True)
class Examined:
    """A check and its result."""

    check: DoctorCheck
    judgement: Judgement


def examine(store: Store, checks: Iterable[DoctorCheck], around: Surroundings) -> Iterator[Examined]:
    """Yield the result of each check. Raises StoreError if no server answers."""
    for check in checks:
        if check.cluster and around.cluster is None:
            yield Examined(check, skipped("not a cluster"))
            continue
        if check.sends and not store.takes_settings:
            yield Examined(check, skipped("readonly = 1: not needed"))
            continue
        try:
            rows = store.rows(check.statement, around.parameters) if check.statement else store.profile()
        except StoreError as e:
            if e.code is None:
                raise
            yield Examined(check, _of_error(check, e))
        else:
            yield Examined(check, check.judge(rows, around))


def _of_error(check: DoctorCheck, error: StoreError) -> Judgement:
    """Return the judgement of a statement that failed."""
    name = error.name or "no name"
    if error.code in _ABSENT:
        return Judgement(check.absent, "not there")
    if error.code in _UNKNOWN:
        return skipped("this version cannot tell")
    if error.code in _FORBIDDEN:
        wanted = ", ".join(dict.fromkeys(_SYSTEM_TABLE.findall(check.statement)))
        more = f": GRANT SELECT ON {wanted}" if wanted else ""
        return skipped(f"the user may not see this (code {error.code}, {name}){more}")
    return failed(f"ClickHouse answers with code {error.code} ({name})")
