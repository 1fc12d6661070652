"""The batches of a journal that may be stored in part, and are written again: their rows would return.

A deletion of their org waits for them. Otherwise the rows that are stored would be deleted and then inserted
again, as ClickHouse forgets the token of a part that lost all its rows.
"""

from __future__ import annotations

from itertools import chain

from indexer.write.batch_state import BatchState
from indexer.write.gated_batches import orgs_of
from indexer.write.journal import Journal


def unsettled_batches(journal: Journal, org_id: int, *, shared: bool = False) -> list[str]:
    """Return the tokens of the open and set-aside batches with frames of an org. Raises JournalError.

    `shared`: only of those with frames of other orgs. Call it while no INSERT of the org runs.
    """
    aside = (kept.token for kept in journal.kept() if kept.state is BatchState.ASIDE)
    batches = chain(journal.unfinished(), ((token, journal.units(token)) for token in aside))
    of_orgs = ((token, orgs_of(units)) for token, units in batches)
    return [token for token, orgs in of_orgs if org_id in orgs and (len(orgs) > 1 or not shared)]
