"""A file becomes the same frames in every version, so that a run may go on after an update.

Where one of these changes on purpose, agent/backfill/job.py gets another epoch, and the changelog says so. A
state file keeps the epoch of its first run.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

import msgspec
import pytest

from agent.backfill.formats import Format
from agent.backfill.job import Job
from agent.backfill.state_file import Progress
from agent.forward.channel import Answer, Outcome
from agent.forward.spool.record import EncodedFrame
from agent.settings import AgentSettings
from agent.wire.frame import decode

STATSD = "".join(
    f"a:{i}|c|#k:{i % 3}|T{1_700_000_000 + i}\nb:{i}|ms|@0.5|T5\nc:{i}|s|T5\n" for i in range(4_000)
)
OPENMETRICS = "# TYPE a counter\n# TYPE h histogram\n" + "".join(
    f'a_total{{k="{i % 3}"}} {i % 700} {1_700_000_000 + i}.5\nh_bucket{{le="1"}} {i} {i}\ng {i} {i}\n'
    for i in range(4_000)
)
CSV = "name,type,value,timestamp,tags\n" + "".join(
    f'a,c,{i},{1_700_000_000 + i},"k:{i % 3}"\nb,g,{i},{i}.25,\n' for i in range(6_000)
)


class Keeps:
    """Takes all frames, and keeps them without their compression, which is a library's matter."""

    def __init__(self) -> None:
        self.identities: list[str] = []
        self.digest = hashlib.sha256()

    def send(self, parcels: Sequence[EncodedFrame]) -> list[Answer]:
        for parcel in parcels:
            self.identities.append(parcel.identity)
            self.digest.update(msgspec.msgpack.encode(decode(parcel.data)))
        return [Answer(Outcome.ACCEPTED, 200)] * len(parcels)


@pytest.mark.parametrize(
    ("epoch", "frames", "form", "text", "digest"),
    [
        (1, 2, "statsd", STATSD, "e82ec139d7b6fd21"),
        (1, 2, "openmetrics", f"{OPENMETRICS}# EOF\n", "1d3652e1430dcf33"),
        (1, 2, "csv", CSV, "2c8243ed3a61d540"),
        (2, 6, "statsd", STATSD, "2e5bc639591be5be"),
        (2, 7, "openmetrics", f"{OPENMETRICS}# EOF\n", "de59b1390cfcc2ab"),
        (2, 7, "csv", CSV, "cb0b75f48b65cc9d"),
    ],
)
def test_frames_are_as_they_were(epoch: int, frames: int, form: Format, text: str, digest: str) -> None:
    progress = Progress(
        sha256="0123456789abcdef" * 4, created_ms=1_800_000_000_000, settings="", url="", epoch=epoch
    )
    keeps = Keeps()
    job = Job(AgentSettings(), form, progress, keeps, save=lambda _: None, named=lambda *_: None)
    for _ in job.run(io.BytesIO(text.encode())):
        pass
    assert not job.bad
    numbers = range(1, frames + 1)
    assert keeps.identities == [f"backfill/0123456789abcdef0123456789abcdef/{epoch}/{n}" for n in numbers]
    assert keeps.digest.hexdigest()[:16] == digest
