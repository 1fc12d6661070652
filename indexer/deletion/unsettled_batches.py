"""The batches of a journal that may be stored in part, and are written again: their rows would return.

A deletion of their org waits for them. Otherwise the rows that are stored would be deleted and then inserted
again, as ClickHouse forgets the token of a part that lost all its rows.
"""

from __future__ import annotations

from itertools import chain

from indexer.write.batch_state import BatchState
from indexer.write.journal import Journal


def unsettled_batches(journal: Journal, org_id: int) -> list[str]:
    """Return the tokens of the open and set-aside batches with frames of an org. Raises JournalError.

    Call it while no INSERT of the org runs.
    """
    aside = (kept.token for kept in journal.kept() if kept.state is BatchState.ASIDE)
    batches = chain(journal.unfinished(), ((token, journal.units(token)) for token in aside))
    return [token for token, units in batches if any(unit.frame.org_id == org_id for unit in units)]
