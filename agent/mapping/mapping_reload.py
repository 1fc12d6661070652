"""Reads a changed mapping file again, while the agent runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.config.load import ConfigError
from agent.mapping.open_mapper import open_mapper
from agent.runtime.logs import Log
from agent.settings import AgentSettings

if TYPE_CHECKING:
    from agent.mapping.mapper import Mapper

#: More than a mapping file may have (agent/mapping/config_file.py).
_MAX_BYTES: Final = 8 << 20


class MappingReload:
    """An action of a reload: opens the mapper of `agent.mapping` again, and hands it to `adopt`.

    A file with an error changes nothing, and neither does one with the same bytes: lines keep their heads.
    """

    def __init__(
        self, settings: AgentSettings, mapper: Mapper, adopt: Callable[[Mapper], None], log: Log
    ) -> None:
        self._settings = settings
        self._mapper = mapper
        self._adopt = adopt
        self._log = log
        self._digest = self._read()
        self._counts = Counter[str]()

    def counts(self) -> dict[str, float]:
        """Return how many reloads took a changed file, found the same one, or found an error."""
        return {result: self._counts[result] for result in ("changed", "same", "failed")}

    async def __call__(self) -> Sequence[str]:
        """Return the problems of the file."""
        digest = self._read()  # before the file is parsed: a later change differs
        if digest and digest == self._digest:
            self._counts["same"] += 1
            return []
        try:
            mapper = open_mapper(self._settings, self._log)
        except ConfigError as e:
            self._counts["failed"] += 1
            return [f"agent.mapping = {e}; the mapping before is kept"]
        assert mapper is not None  # the setting names a file
        mapper.follow(self._mapper)
        self._adopt(mapper)
        self._mapper, self._digest = mapper, digest
        self._counts["changed"] += 1
        return []

    def _read(self) -> bytes:
        """Return a hash of the file; nothing where it cannot be read."""
        try:
            with Path(self._settings.mapping).open("rb") as file:
                return blake2b(file.read(_MAX_BYTES)).digest()
        except OSError:
            return b""
