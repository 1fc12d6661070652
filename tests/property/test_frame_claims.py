"""Three indexers, an operator who releases frames, and every order of steps: each frame counts once.

The model is the table of samples: which rows (frame, kind) were stored under which token. Indexers take the
steps of indexer/write/journal_writer.py one by one, die between any two, lose answers and journals, and
requests arrive late. Only frames of a journal that an operator declares lost may count twice.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_claims import divided
from indexer.write.frame_claims import FrameClaims, Verdict
from tests.support.bit_table import MemoryBits
from tests.support.frames import counter_frame

FRAMES: Final = 2
KINDS: Final = ("counters", "gauges")
INDEXERS: Final = 3


def frame(number: int, hop: int, *, lost: bool = False) -> AcceptedFrame:
    made = counter_frame({"a": 1.0}, 0, sequence=number)
    return AcceptedFrame(f"1:1/{made.identity}", b"", made, hop=hop, lost_hops=(1 << hop) - 1 if lost else 0)


class Batch:
    """A batch of a journal. `step`: of this process; a restart begins at "begun" or "go"."""

    def __init__(self, token: str, units: list[AcceptedFrame]) -> None:
        self.token, self.units = token, units
        self.go = False
        self.step = "begun"


class OneIndexer:
    """The journal survives a kill; the rest does not."""

    def __init__(self) -> None:
        self.journal: list[Batch] = []
        self.done: set[str] = set()
        self.up = True

    def knows(self, identity: str) -> bool:
        return any(unit.identity == identity for batch in self.journal for unit in batch.units)


class Releases(RuleBasedStateMachine):
    """The agent, its indexers and the table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = MemoryBits()
        self.claims = FrameClaims(self.table)
        self.indexers = [OneIndexer() for _ in range(INDEXERS)]
        self.tokens = itertools.count()
        self.stored: set[tuple[str, str]] = set()  # (token, kind) that ClickHouse has
        self.counted: Counter[tuple[str, str]] = Counter()
        self.at = dict.fromkeys(range(FRAMES), 0)  # the indexer that each frame is bound to
        self.hop = dict.fromkeys(range(FRAMES), 0)
        self.lost: dict[int, bool] = dict.fromkeys(range(FRAMES), False)
        self.sent: set[tuple[int, int, int]] = set()  # (frame, hop, indexer), for late copies
        self.excused: set[str] = set()
        self.acknowledged: set[str] = set()

    def _arrive(self, at: int, unit: AcceptedFrame) -> None:
        """Let a request reach an indexer: refused, known, or in a new batch of its journal."""
        indexer = self.indexers[at]
        if not indexer.up:
            return
        if unit.identity in indexer.done:
            self.acknowledged.add(unit.identity)
            return
        for batch in indexer.journal:
            for n, known in enumerate(batch.units):
                if known.identity == unit.identity and unit.lost_hops and not batch.go:
                    batch.units[n] = frame(known.frame.sequence, known.hop, lost=True)
        if indexer.knows(unit.identity):
            return
        verdict = self.claims.look([unit]).get(unit.identity)
        if verdict is Verdict.STORED:
            self.acknowledged.add(unit.identity)
        if verdict is None:
            ((_, units),) = divided([unit])
            waiting = [b for b in indexer.journal if b.step == "begun" and not b.go]
            if unit.hop == 0 and waiting and waiting[-1].units[0].hop == 0:
                waiting[-1].units.extend(units)
            else:
                indexer.journal.append(Batch(f"t{next(self.tokens)}", units))

    @rule(number=st.integers(0, FRAMES - 1), steps=st.integers(0, 6))
    def send(self, number: int, steps: int) -> None:
        unit = frame(number, self.hop[number], lost=self.lost[number])
        self.sent.add((number, unit.hop, self.at[number]))
        self._arrive(self.at[number], unit)
        self.steps(self.at[number], steps)

    @rule(data=st.data(), steps=st.integers(0, 6))
    def arrive_late(self, data: st.DataObject, steps: int) -> None:
        """Let a copy of an earlier request arrive, from a proxy or a stopped process."""
        if self.sent:
            number, hop, at = data.draw(st.sampled_from(sorted(self.sent)))
            self._arrive(at, frame(number, hop))
            self.steps(at, steps)

    @rule(number=st.integers(0, FRAMES - 1), to=st.integers(1, INDEXERS - 1), steps=st.integers(0, 6))
    def release(self, number: int, to: int, steps: int) -> None:
        """Release a frame whether its indexer is dead or not: the operator may be wrong."""
        if self.hop[number] < 3:
            self.hop[number] += 1
            self.at[number] = (self.at[number] + to) % INDEXERS
            self.send(number, steps)

    @rule(number=st.integers(0, FRAMES - 1))
    def give_up_journals(self, number: int) -> None:
        """Say as an operator that the earlier journals of a released frame are lost."""
        identity = frame(number, 0).identity
        if self.hop[number] and identity in self.excused:
            self.lost[number] = True

    @rule(at=st.integers(0, INDEXERS - 1), count=st.integers(1, 6))
    def steps(self, at: int, count: int) -> None:
        indexer = self.indexers[at]
        for _ in range(count):
            if indexer.up and indexer.journal:
                self._advance(indexer, indexer.journal[0])

    def _advance(self, indexer: OneIndexer, batch: Batch) -> None:
        match batch.step:
            case "begun" if batch.go:
                batch.step = KINDS[0]
            case "begun":
                self.claims.announce(batch.token, batch.units)
                batch.step = "announced"
            case "announced":
                verdicts = self.claims.verdicts(batch.token, batch.units)
                if Verdict.UNDECIDED in verdicts.values():
                    batch.step = "begun"  # set aside: tried again, after the others
                    indexer.journal.append(indexer.journal.pop(0))
                    return
                batch.units = [u for u in batch.units if u.identity not in verdicts]
                batch.go, batch.step = True, KINDS[0]
            case "identities":
                self.table.write("i", _identities(batch.units))
                batch.step = "finish"
            case "finish":
                indexer.journal.remove(batch)
                indexer.done.update(u.identity for u in batch.units)
            case kind:
                if (batch.token, kind) not in self.stored:
                    self.stored.add((batch.token, kind))
                    self.counted.update((u.identity, kind) for u in batch.units)
                batch.step = "identities" if kind == KINDS[-1] else KINDS[1]

    @rule(at=st.integers(0, INDEXERS - 1), fate=st.integers(0, 9))
    def kill(self, at: int, fate: int) -> None:
        indexer = self.indexers[at]
        indexer.up = False
        for batch in indexer.journal:
            batch.step = "begun"
        if not fate:  # the journal is lost
            # Sent again to the same indexer, the batch that was open may count twice (docs/reliability.md).
            self.excused.update(u.identity for batch in indexer.journal for u in batch.units)
            stored = {
                unit.identity
                for unit in (frame(n, 0) for n in range(FRAMES))
                if unit.identity in indexer.done
            }
            indexer.journal, indexer.done = [], stored  # looked up in ClickHouse

    @rule(at=st.integers(0, INDEXERS - 1))
    def come_back(self, at: int) -> None:
        self.indexers[at].up = True

    @invariant()
    def counted_once(self) -> None:
        for (identity, kind), times in self.counted.items():
            assert times == 1 or identity in self.excused, (identity, kind)
        for identity in self.acknowledged:
            assert all(self.counted[identity, kind] for kind in KINDS), identity

    def teardown(self) -> None:
        """All come back: then each frame is stored, unless it waits for a journal that is lost."""
        for indexer in self.indexers:
            indexer.up = True
        for _ in range(12):
            for number in range(FRAMES):
                self.send(number, 0)
            for at in range(INDEXERS):
                self.steps(at, 30)
        self.counted_once()
        for number in range(FRAMES):
            identity = frame(number, 0).identity
            assert identity in self.acknowledged | self.excused, identity


def _identities(units: list[AcceptedFrame]) -> dict[tuple[str, int], int]:
    from indexer.write.stored_identities import bit_of

    masks: Counter[tuple[str, int]] = Counter()
    for place in {bit_of(unit.identity) for unit in units}:
        masks[place.source, place.block] += 1 << place.bit
    return dict(masks)


def test_each_frame_counts_once_in_every_order() -> None:
    run_state_machine_as_test(
        Releases,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
