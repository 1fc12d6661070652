"""A backfill that is interrupted at every frame, before or after it is stored, and run again, is exact."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.backfill.chunks import Chunk
from agent.backfill.formats import Format
from agent.backfill.job import Job
from agent.backfill.state_file import Progress
from agent.forward.channel import Answer, Outcome
from agent.forward.spool.record import EncodedFrame
from agent.settings import AgentSettings
from agent.wire.frame import decode

Totals = dict[str, float]
SETTINGS = AgentSettings()


class KilledError(Exception):
    """The process is gone."""


class Indexer:
    """Stores each identity once; other bytes under one are a conflict. Ends the process at a frame."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.frames = 0
        self.kill_at = 0
        self.after_storing = False

    def send(self, parcels: Sequence[EncodedFrame]) -> list[Answer]:
        return [self._store(parcel) for parcel in parcels]

    def _store(self, parcel: EncodedFrame) -> Answer:
        self.frames += 1
        if self.frames == self.kill_at and not self.after_storing:
            raise KilledError
        same = self.stored.setdefault(parcel.identity, parcel.data) == parcel.data
        if self.frames == self.kill_at:
            raise KilledError
        return Answer(Outcome.ACCEPTED, 200) if same else Answer(Outcome.CONFLICT, 409)

    def totals(self) -> Totals:
        sums: Totals = defaultdict(float)
        for data in self.stored.values():
            frame = decode(data)
            names = memoryview(frame.series.name).cast("I")
            series = memoryview(frame.counters.series).cast("I")
            for at, value in zip(series, memoryview(frame.counters.value).cast("d"), strict=True):
                sums[frame.strings[names[at]]] += value
        return dict(sums)


def one_line_each(file: BinaryIO, _max_lines: int) -> Iterator[Chunk]:
    for number, line in enumerate(file.read().splitlines(), 1):
        yield Chunk(number, number, [line])


class Run:
    """The file's state between processes."""

    def __init__(self, text: str, form: Format, indexer: Indexer) -> None:
        self._text, self._form, self._indexer = text, form, indexer
        self.progress = Progress(sha256="f" * 64, created_ms=10**12, settings="", url="")

    def start(self) -> Job:
        def save(progress: Progress) -> None:
            self.progress = progress

        job = Job(
            SETTINGS,
            self._form,
            msgspec.structs.replace(self.progress),
            self._indexer,
            save=save,
            named=lambda *_: None,
            cut=one_line_each,
        )
        for _ in job.run(io.BytesIO(self._text.encode())):
            pass
        return job

    def start_killed(self, at: int, *, after_storing: bool) -> bool:
        """Whether it was killed at the frame of this number."""
        self._indexer.frames, self._indexer.kill_at = 0, at
        self._indexer.after_storing = after_storing
        try:
            self.start()
        except KilledError:
            return True
        finally:
            self._indexer.kill_at = 0
        return False


lines = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), min_size=1, max_size=25)

all_kills = st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=6)


def statsd(samples: Sequence[tuple[str, int]]) -> tuple[str, Totals]:
    truth: Counter[str] = Counter()
    for name, value in samples:
        truth[name] += value
    return "\n".join(f"{name}:{value}|c|T{100 + at}" for at, (name, value) in enumerate(samples)), {**truth}


def csv_text(samples: Sequence[tuple[str, int]]) -> tuple[str, Totals]:
    records = [f"{name},c,{value},{100 + at}" for at, (name, value) in enumerate(samples)]
    return "\n".join(["name,type,value,timestamp", *records]), statsd(samples)[1]


def openmetrics(samples: Sequence[tuple[str, int]]) -> tuple[str, Totals]:
    """Cumulative values; a delta over 15 comes after a reset, so it is the value."""
    text, now, truth = ["# TYPE a counter", "# TYPE b counter", "# TYPE c counter"], Counter[str](), Totals()
    for at, (name, value) in enumerate(samples):
        known = name in now
        reset = known and value > 15 and now[name] > value
        now[name] = value if reset else now[name] + value
        if known:
            truth[f"{name}_total"] = truth.get(f"{name}_total", 0.0) + value
        text.append(f"{name}_total {now[name]} {100 + at}")
    return "\n".join([*text, "# EOF"]), truth


FILES = {"statsd": statsd, "csv": csv_text, "openmetrics": openmetrics}


@settings(deadline=None, max_examples=25)
@given(lines, st.sampled_from(sorted(FILES)), st.booleans())
def test_interrupted_at_every_frame_it_is_exact(
    samples: list[tuple[str, int]], form: Format, after_storing: bool
) -> None:
    text, truth = FILES[form](samples)
    at = 1
    while True:
        indexer = Indexer()
        run = Run(text, form, indexer)
        killed = run.start_killed(at, after_storing=after_storing)
        job = run.start()
        assert indexer.totals() == truth
        assert not job.bad
        assert job.progress.conflict_lines == job.progress.refused_lines == 0
        assert run.progress.finished
        if not killed:
            break
        at += 1


@settings(deadline=None, max_examples=40)
@given(
    lines, st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=6)
)
def test_killed_time_and_again_and_without_its_state_it_is_exact(
    samples: list[tuple[str, int]], form: Format, kills: list[tuple[int, bool]]
) -> None:
    text, truth = FILES[form](samples)
    indexer = Indexer()
    run = Run(text, form, indexer)
    for at, after_storing in kills:
        run.start_killed(at, after_storing=after_storing)
    run.start()
    assert indexer.totals() == truth
    lost = Run(text, form, indexer)
    lost.progress.created_ms += 5_000
    job = lost.start()  # other bytes under the same identities
    assert indexer.totals() == truth
    assert job.progress.lines == 0
