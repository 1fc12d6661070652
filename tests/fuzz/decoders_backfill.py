"""Decoders of `meterhouse backfill`: a file of each format, and the state file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from agent.backfill.formats import Format
from agent.backfill.job import Job
from agent.backfill.state_file import Progress, ProgressError, load, save
from agent.forward.channel import Answer, Outcome
from agent.forward.spool.record import EncodedFrame
from agent.settings import AgentSettings
from agent.wire.frame import decode
from tests.fuzz.harness import Decoder

_STATSD: Final = b"a:1:2|c|@0.5|#k:v|T1700000000\nb:-1|g|T1700000001\nc:x|s|T1700000002\nd:3|ms|T1\n\ne:1|c\n"
_OPENMETRICS: Final = b"""# HELP a text
# TYPE a counter
a_total{k="v",l="q\\"\\\\\\n"} 1 1700000000.5 # {trace="x"} 0.1 1700000000
a_total{k="v",l="q\\"\\\\\\n"} 5 1700000010
# TYPE h histogram
h_bucket{le="+Inf"} 1 1700000000
h_created 1 1700000000
# TYPE s summary
s{quantile="0.5"} NaN 1700000000
g -1.5e3 1
# EOF
"""
_CSV: Final = b'name,type,value,timestamp,tags,x\na,c,1,1700000000,"k:v,l",\n"b, ""c""",s,m,1.5,,\n'
_WORDS: Final = (
    *(b"|T1700000000", b"|T99999999999999", b"# TYPE a counter\n", b"# EOF\n", b"# ", b'{k="', b'"}', b"\\"),
    *(b"+Inf", b"NaN", b"1e400", b" ", b"\t", b",", b'"', b"\r", b"\xef\xbb\xbf", b"\xff", b"name,type\n"),
)  # fmt: skip
_FILES: Final[dict[Format, bytes]] = {"statsd": _STATSD, "openmetrics": _OPENMETRICS, "csv": _CSV}


def decoders(folder: Path) -> Iterator[Decoder]:
    """All of them; `folder` is for files."""
    for form, text in _FILES.items():
        yield Decoder(f"backfill_{form}", _file(form), (), [text], _WORDS, cost=8)
    state = folder / "backfill"
    save(state, Progress(sha256="a" * 64, created_ms=1, settings="b", url="http://c", chunks=3))
    yield Decoder("backfill_state", _state(state), (ProgressError,), [state.read_bytes()], cost=4)


class _Checks:
    """Takes every frame that can be decoded."""

    def send(self, parcels: Sequence[EncodedFrame]) -> list[Answer]:
        for parcel in parcels:
            decode(parcel.data)
        return [Answer(Outcome.ACCEPTED, 200, '{"rows": 1}')] * len(parcels)


def _file(form: Format) -> Callable[[bytes], object]:
    def take(data: bytes) -> None:
        progress = Progress(sha256="a" * 64, created_ms=1_700_000_100_000, settings="", url="")
        job = Job(AgentSettings(), form, progress, _Checks(), save=lambda _: None, named=lambda *_: None)
        for _ in job.run(io.BytesIO(data)):
            pass

    return take


def _state(path: Path) -> Callable[[bytes], object]:
    def take(data: bytes) -> None:
        path.write_bytes(data)
        load(path)

    return take
