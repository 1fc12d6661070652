"""Opens who tells the indexer what the mapping file says of metrics, where it says anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.forward.credentials import Login
from agent.runtime.logs import Log
from agent.settings import AgentSettings

if TYPE_CHECKING:
    from agent.forward.metadata_sender import Announcer
    from agent.mapping.mapper import Mapper


def open_announcer(
    mapper: Mapper | None, settings: AgentSettings, log: Log, login: Login
) -> Announcer | None:
    """Return who tells the indexer what the mapping file says of metrics; None if it says nothing."""
    if mapper is None or not mapper.describes:
        return None
    from agent.forward.metadata_sender import Announcer

    announcer = Announcer(settings, log, login=login)
    for name, described in mapper.names():
        announcer.describe(name, described)
    mapper.describe = announcer.describe
    return announcer
