"""Explains lines with the settings and mapping file of an agent, for the API beside it (`meterhouse up`)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from agent.cli.explain import Explained, explain
from agent.config.load import ConfigError
from agent.mapping.open_mapper import open_mapper
from agent.runtime.logs import Log
from agent.settings import AgentSettings

#: Lines of one request, and the bytes of each; further ones are left out.
MAX_LINES: Final = 50
MAX_LINE_BYTES: Final = 8_192
#: Samples of one request, as a line may pack some thousands; the rest is left out.
MAX_SAMPLES: Final = 500


class ExplainedText(NamedTuple):
    """The results of the lines of a text, and the number of lines without all of theirs."""

    found: list[Explained]
    left_out: int


class LineExplainer:
    """Explains as the agent of these settings reads. Thread-safe. Raises ConfigError for its mapping file."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._mapper = open_mapper(settings, Log("explain"))

    async def reload(self) -> Sequence[str]:
        """Read the mapping file again, as the agent does; return its problems."""
        try:
            self._mapper = open_mapper(self._settings, Log("explain"))
        except ConfigError as e:
            return [str(e)]
        return []

    def __call__(self, text: str) -> ExplainedText:
        """Return the results of the lines of a text, as if they arrived now."""
        now_ms = time.time_ns() // 1_000_000
        lines = [line for line in text.encode(errors="surrogateescape").split(b"\n") if line.strip()]
        found: list[Explained] = []
        whole = 0
        for line in lines[:MAX_LINES]:
            found += explain(line.rstrip(b"\r")[:MAX_LINE_BYTES], self._settings, self._mapper, now_ms)
            whole += len(found) <= MAX_SAMPLES
            if len(found) >= MAX_SAMPLES:
                break
        return ExplainedText(found[:MAX_SAMPLES], len(lines) - whole)
