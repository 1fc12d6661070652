"""Opens who tells the indexer what the mapping file says of metrics, where it says anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.forward.credentials import Credentials
from agent.runtime.logs import Log
from agent.settings import AgentSettings

if TYPE_CHECKING:
    from agent.forward.metadata_sender import MetadataSender
    from agent.mapping.mapper import Mapper


def open_metadata_sender(
    mapper: Mapper | None, settings: AgentSettings, log: Log, credentials: Credentials
) -> MetadataSender | None:
    """Return who tells the indexer what the mapping file says of metrics; None if it says nothing."""
    if mapper is None or not mapper.describes:
        return None
    from agent.forward.metadata_sender import MetadataSender

    announcer = MetadataSender(settings, log, credentials=credentials)
    for name, described in mapper.names():
        announcer.describe(name, described)
    mapper.describe = announcer.describe
    return announcer
