"""A file becomes the same frames in every version, so that a run may go on after an update.

Where one of these changes on purpose, `EPOCH` in agent/backfill/job.py changes, too, and the changelog says
so: the frames of a file that was begun before are others then.
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
    ("form", "text", "digest"),
    [
        ("statsd", STATSD, "e82ec139d7b6fd21"),
        ("openmetrics", f"{OPENMETRICS}# EOF\n", "1d3652e1430dcf33"),
        ("csv", CSV, "2c8243ed3a61d540"),
    ],
)
def test_frames_are_as_they_were(form: Format, text: str, digest: str) -> None:
    progress = Progress(sha256="0123456789abcdef" * 4, created_ms=1_800_000_000_000, settings="", url="")
    keeps = Keeps()
    job = Job(AgentSettings(), form, progress, keeps, save=lambda _: None, named=lambda *_: None)
    for _ in job.run(io.BytesIO(text.encode())):
        pass
    assert not job.bad
    assert keeps.identities == [f"backfill/0123456789abcdef0123456789abcdef/1/{n}" for n in (1, 2)]
    assert keeps.digest.hexdigest()[:16] == digest
