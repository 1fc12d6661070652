"""The mapping file's parts of an agent: who maps heads, and who tells the indexer what it says of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent.login import Login
from agent.logs import Log
from agent.settings import AgentSettings

if TYPE_CHECKING:
    from agent.announce import Announcer
    from agent.mapping import Mapper

#: Notes on the mapping file that go to the log at most.
_SHOWN_NOTES: Final = 20


def open_mapper(settings: AgentSettings, log: Log) -> Mapper | None:
    """Return the mapper of `agent.mapping`; None where there is no file. Raises ConfigError."""
    if not settings.mapping:
        return None
    from agent import mapping_file  # not where there is none: YAML is memory

    file = mapping_file.read(settings.mapping, settings.lines.timer_unit)
    log.info("mapping", file=settings.mapping, rules=len(file.rules), notes=len(file.notes))
    for note in file.notes[:_SHOWN_NOTES]:  # check-config shows all
        log.info("mapping_note", line=note.line, note=note.text)
    return file.mapper(settings.lines)


def open_announcer(
    mapper: Mapper | None, settings: AgentSettings, log: Log, login: Login
) -> Announcer | None:
    """Return who tells the indexer what the mapping file says of metrics; None if it says nothing."""
    if mapper is None or not mapper.describes:
        return None
    from agent.announce import Announcer

    announcer = Announcer(settings, log, login=login)
    for name, described in mapper.names():
        announcer.describe(name, described)
    mapper.describe = announcer.describe
    return announcer
