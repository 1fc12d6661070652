"""The fixtures of releases: data, requests and right answers of each, for tests of upgrades.

A folder `tests/fixtures/store_<release>` has

    data.tar.xz      the data directory that `meterhouse up` left: store, journal, spool, state
    meterhouse.toml  the settings it ran with
    answers.json     requests to the API, and the answers of that release
    frame.bin        a frame that it stored: sequence 1 of the agent `old-direct`
    sent.json        requests that its agent sent to an indexer, a message, and the values they make
    agent.tar.xz     the spool and the state that its agent left when it was killed
    statements.xz    the statements of its shim, and the answers of ClickHouse
    settings.toml    all its settings with their defaults

3b2ee7e had no spool and printed no settings. 9bc9d5dc, the first with spool and checkpoints, has these alone.

`python -m tests.support.release_fixture` makes one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

FIXTURES: Final = Path(__file__).parents[1] / "fixtures"
_PREFIX: Final = "store_"
#: The end of the fixtures' 30 minutes, Unix seconds.
END_S: Final = 1_795_825_800
#: The counter that the agent of a fixture spooled, and the gauge whose last value it kept.
SPOOLED: Final = "spooled.lines"
LEVEL: Final = "spooled.level"


class SentRequest(msgspec.Struct, frozen=True):
    """A request to an indexer."""

    path: str
    content_type: str
    body: bytes


class SentValue(msgspec.Struct, frozen=True):
    """The value of a query at END_S once all requests are stored."""

    query: str
    value: float


class SpooledTruth(msgspec.Struct, frozen=True):
    """The facts about an agent's spool and state: the sum of a counter, lines, and a gauge's last value."""

    total: float
    lines: int
    level: float
    #: When the agent was killed, Unix milliseconds.
    at_ms: int


class SentByAgent(msgspec.Struct, frozen=True):
    """The file `sent.json`."""

    requests: list[SentRequest]
    values: list[SentValue]
    spooled: SpooledTruth | None = None


def folder_of(release: str) -> Path:
    """Return the folder of a release's fixture."""
    return FIXTURES / f"{_PREFIX}{release}"


def releases(part: str) -> list[str]:
    """Return the releases whose fixture has the file `part`."""
    return sorted(path.parent.name.removeprefix(_PREFIX) for path in FIXTURES.glob(f"{_PREFIX}*/{part}"))


def read_sent(release: str) -> SentByAgent:
    """Return the requests that a release's agent sent."""
    return msgspec.json.decode((folder_of(release) / "sent.json").read_bytes(), type=SentByAgent)
