"""Opens the exposition if the settings ask for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.settings import AgentSettings
from agent.wire.metadata import MetricDescription

if TYPE_CHECKING:
    from agent.exposition.exposition import Exposition
    from agent.mapping.mapper import Mapper


def open_exposition(settings: AgentSettings, mapper: Mapper | None) -> Exposition | None:
    """Return the exposition, which hears of the mapping file's metrics; None if it is off.

    The mapper may have another listener already, which goes on hearing of them.
    """
    if not settings.exposition:
        return None
    from agent.exposition.exposition import Exposition  # only with the setting: it costs memory

    if mapper is None:
        return Exposition(settings)
    opened = Exposition(settings, mapper.ttl_s)
    let_describe(mapper, opened)
    return opened


def let_describe(mapper: Mapper, opened: Exposition) -> None:
    """Let an exposition hear of the metrics of a mapping file, and forget those of the file before."""
    opened.forget_descriptions(mapper.ttl_s)
    for name, described in mapper.names():
        opened.described.describe(name, described)
    mapper.describe = _both(mapper.describe, opened.described.describe)
    mapper.keep = opened.described.keep
    mapper.tell_again()


_Describe = Callable[[str, MetricDescription], None]


def _both(first: _Describe | None, second: _Describe) -> _Describe:
    def describe(name: str, described: MetricDescription) -> None:
        if first is not None:
            first(name, described)
        second(name, described)

    return describe
