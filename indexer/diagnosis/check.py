"""The parts of a check: a statement, the judge of its rows, and the advice where it fails. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

Rows = Sequence[tuple[Any, ...]]


class CheckResult(Enum):
    """The result of a check, as it is printed."""

    PASSED = "passed"
    FAILED = "FAILED"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Facts that a judge compares rows with.

    `database`: of the tables; `cluster`: None for a single node; `now_ms`: the time of this machine.
    """

    database: str
    cluster: str | None = None
    now_ms: int = 0

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters that every statement may name."""
        return {"database": self.database, "cluster": self.cluster or ""}


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result of a check and its reason."""

    result: CheckResult
    reason: str


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One check.

    `judge` gets the rows of `statement`; where that is empty, the settings of the user's profile. `advice` is
    printed where it fails. `absent` is the result where a server lacks the table, `cluster` limits a check to
    clusters, and `sends` to users who may send settings and tables.
    """

    name: str
    statement: str
    judge: Callable[[Rows, Surroundings], Judgement]
    advice: str
    absent: CheckResult = CheckResult.SKIPPED
    cluster: bool = False
    sends: bool = False


def passed(reason: str) -> Judgement:
    """Return a judgement that nothing is wrong."""
    return Judgement(CheckResult.PASSED, reason)


def failed(reason: str) -> Judgement:
    """Return a judgement that something is wrong."""
    return Judgement(CheckResult.FAILED, reason)


def skipped(reason: str) -> Judgement:
    """Return a judgement that nothing is known."""
    return Judgement(CheckResult.SKIPPED, reason)
