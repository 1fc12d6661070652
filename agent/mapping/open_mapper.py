"""Opens the mapper that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent.runtime.logs import Log
from agent.settings import AgentSettings

if TYPE_CHECKING:
    from agent.mapping.mapper import Mapper

#: Maximum number of notes on the mapping file in the log.
_SHOWN_NOTES: Final = 20


def open_mapper(settings: AgentSettings, log: Log) -> Mapper | None:
    """Return the mapper of `agent.mapping`; None if no file is set. Raises ConfigError."""
    if not settings.mapping:
        return None
    from agent.mapping import config_file  # imported only if a file is set: PyYAML costs memory

    file = config_file.read(settings.mapping, settings.lines.timer_unit)
    log.info("mapping", file=settings.mapping, rules=len(file.rules), notes=len(file.notes))
    for note in file.notes[:_SHOWN_NOTES]:  # check-config shows all
        log.info("mapping_note", line=note.line, note=note.text)
    return file.mapper(settings.lines)
