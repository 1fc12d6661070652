"""The batches of a journal that may be stored in part, and are written again: their rows would return.

A deletion of their org waits for them. Otherwise the rows that are stored would be deleted and then inserted
again, as ClickHouse forgets the token of a part that lost all its rows.

The identity of a frame tells the org, also of a damaged one, except for frames of before migration 4: their
batch may have frames of any org. Only such batches are read: there may be a million, and INSERTs of the org
wait meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final, NamedTuple

from indexer.write.batch_pages import BatchFrame, frames_of_batches
from indexer.write.batch_state import BatchState
from indexer.write.gated_batches import orgs_of
from indexer.write.identity import org_of
from indexer.write.journal import DamagedFramesError, Journal

#: Batches that a refusal names.
_MAX_NAMED: Final = 5
_STATES: Final = (BatchState.OPEN, BatchState.ASIDE)


class UnsettledBatch(NamedTuple):
    """A batch. `damaged`: frames of it cannot be read; `hides`: and the org of one is not known."""

    token: str
    damaged: bool = False
    hides: bool = False

    @property
    def remedy(self) -> str:
        """The commands that help with a damaged one."""
        hides = " and hides the orgs of its frames" if self.hides else ""
        return (
            f"batch {self.token} is damaged{hides}: `meterhouse set-aside show {self.token}` names its"
            f" frames, `meterhouse set-aside drop {self.token}` gives them up"
        )


def unsettled_batches(
    journal: Journal, org_id: int, *, shared: bool = False, scoped_from_ms: int = 0
) -> list[UnsettledBatch]:
    """Return the open and set-aside batches that may have frames of an org. Raises JournalError.

    `shared`: only of those that may have frames of other orgs. `scoped_from_ms`: when identities began to
    carry the org. Only the first ones tell whether they are damaged. Call it while no INSERT of the org runs.
    """
    found: list[UnsettledBatch] = []
    for token, frames in groupby(frames_of_batches(journal, _STATES), key=lambda of: of.token):
        orgs = {_org_of(of, scoped_from_ms) for of in frames}
        holds_up = org_id in orgs and (len(orgs) > 1 or not shared)
        if None in orgs or (holds_up and len(found) < _MAX_NAMED):
            found += _looked_at(journal, token, org_id, shared=shared)
        elif holds_up:
            found.append(UnsettledBatch(token))
    return found


def _org_of(of: BatchFrame, scoped_from_ms: int) -> int | None:
    """Return the org of a frame; None if only its bytes tell it."""
    scoped = of.created_ms is not None and of.created_ms >= scoped_from_ms
    return org_of(of.identity) if scoped else None


def _looked_at(journal: Journal, token: str, org_id: int, *, shared: bool) -> list[UnsettledBatch]:
    """Read a batch; return it if it may have frames of an org."""
    damaged: list[int | None] = []
    try:
        orgs = orgs_of(journal.units(token, _STATES))
    except DamagedFramesError as e:
        damaged = [org_of(identity) for identity in e.identities]
        orgs = orgs_of(e.readable) | {org for org in damaged if org is not None}
    hides = None in damaged
    if hides or (org_id in orgs and (len(orgs) > 1 or not shared)):
        return [UnsettledBatch(token, bool(damaged), hides)]
    return []


def unsettled_text(org_id: int, unsettled: Sequence[UnsettledBatch]) -> str:
    """Return why a deletion is refused beside these batches, and the way out."""
    named = ", ".join(one.token for one in unsettled[:_MAX_NAMED])
    more = f" and {len(unsettled) - _MAX_NAMED} more" if len(unsettled) > _MAX_NAMED else ""
    damaged = "".join(f"; {one.remedy}" for one in unsettled[:_MAX_NAMED] if one.damaged)
    return (
        f"batches of org {org_id} may be stored in part, and would bring deleted rows back: {named}{more};"
        f" delete again when they are stored or dropped (meterhouse set-aside list){damaged}"
    )
