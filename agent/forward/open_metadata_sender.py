"""Creates the sender of metric metadata, if the mapping file contains any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.forward.credentials import Credentials
from agent.forward.current_channel import OpenChannel
from agent.runtime.logs import Log
from agent.settings import AgentSettings

if TYPE_CHECKING:
    from agent.forward.metadata_sender import MetadataSender
    from agent.mapping.mapper import Mapper


def open_metadata_sender(
    mapper: Mapper | None,
    settings: AgentSettings,
    log: Log,
    credentials: Credentials,
    open_channel: OpenChannel | None = None,
) -> MetadataSender | None:
    """Return the sender of the mapping file's metadata; None if the file has none."""
    if mapper is None or not mapper.describes:
        return None
    from agent.forward.metadata_sender import MetadataSender

    announcer = MetadataSender(settings, log, credentials=credentials, open_channel=open_channel)
    announce(mapper, announcer)
    return announcer


def announce(mapper: Mapper, announcer: MetadataSender) -> None:
    """Let the descriptions of a mapping file be sent, those of names without references at once."""
    for name, described in mapper.names():
        announcer.describe(name, described)
    mapper.describe = announcer.describe
