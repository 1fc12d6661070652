"""The spool in memory and the spool on disk: the same promises, one class of cases over both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.forward.spool.backlog import Backlog
from agent.forward.spool.record import EncodedFrame
from agent.forward.spool.spool import Spool

Open = Callable[..., Spool]


def parcel(name: str, size: int = 10, number: int = 0) -> EncodedFrame:
    return EncodedFrame(
        name, name.encode() * size, rows=size, number=number, lines=2 * size, created_ms=1_000
    )


@pytest.fixture(params=["memory", "disk", "failing"])
def open_spool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Open spools; `failing`: on disk, after a try that failed, so that frames are written at once."""
    opened: list[Spool] = []

    def make(max_bytes: int = 100_000) -> Spool:
        backlog = None if request.param == "memory" else Backlog(tmp_path, 1 << 20, 60.0, lambda: 2_000)
        spool = Spool(max_bytes, backlog)
        opened.append(spool)
        if request.param == "failing":
            spool.put(parcel("first"))
            first = spool.take()
            assert first
            spool.again(first)
            again = spool.take()
            assert again
            assert again == first
            spool.done(again)
            spool._failing = True  # done: the indexer answers again; the frames below meet one that does not
        return spool

    yield make
    for spool in opened:
        spool.leave()


def names(spool: Spool) -> list[str]:
    out = []
    while (taken := spool.take()) is not None:
        out.append(taken.identity)
    return out


class TestSpools:
    """Order, who has a frame, and waiting."""

    def test_oldest_first_with_the_same_bytes(self, open_spool: Open) -> None:
        spool = open_spool()
        put = [parcel(name, number=n) for n, name in enumerate("abc", 1)]
        for one in put:
            spool.put(one)
        assert (spool.unsent_frames, spool.unsent_bytes) == (3, 30)
        oldest_ms: int | None = spool.oldest_ms
        assert oldest_ms == 1_000
        taken = spool.take_many(4, 1_000, 1, live_first=False)
        assert taken == put
        assert spool.unsent_frames == 3
        for one in taken:
            spool.done(one)
        assert (spool.unsent_frames, spool.unsent_bytes) == (0, 0)
        left_ms: int | None = spool.oldest_ms
        assert left_ms is None
        assert spool.wait_empty(0)

    def test_again_is_the_oldest(self, open_spool: Open) -> None:
        spool = open_spool()
        for name in "ab":
            spool.put(parcel(name))
        out = spool.take()
        assert out
        spool.again(out)
        assert sorted(names(spool)) == ["a", "b"]

    def test_a_frame_is_over_by_its_number(self, open_spool: Open) -> None:
        spool = open_spool()
        for n in (1, 2, 3):
            spool.put(parcel(str(n), number=n))
        one, two, three = (spool.take() for _ in range(3))
        assert one
        assert two
        assert three
        spool.done(two)
        assert not spool.wait_over(1, 0)
        spool.again(one)
        assert not spool.wait_over(1, 0)
        one = spool.take()
        assert one
        assert one.identity == "1"
        spool.done(one)
        assert spool.wait_over(2, 0)
        assert not spool.wait_over(3, 0)
        spool.again(three)
        spool.keep_old(0.0)
        assert not spool.wait_over(3, 0)
        three = spool.take()
        assert three
        assert three.identity == "3"
        spool.done(three)
        assert spool.wait_over(3, 0)

    def test_kept_while_under_way(self, open_spool: Open) -> None:
        """`keep_old` changes nothing that a sender sees."""
        spool = open_spool()
        for name in "abc":
            spool.put(parcel(name))
        a, b = spool.take(), spool.take()
        assert a
        assert b
        spool.keep_old(0.0)
        assert (spool.unsent_frames, spool.unsent_bytes) == (3, 30)
        spool.done(a)
        spool.again(b)
        assert sorted(names(spool)) == ["b", "c"]

    def test_closing_ends_waits(self, open_spool: Open) -> None:
        spool, seen = open_spool(), list[bool]()
        waiting = threading.Thread(target=lambda: seen.append(spool.wait_any()))
        waiting.start()
        spool.put(parcel("a"))
        waiting.join(120)
        out = spool.take()
        assert out
        assert not spool.wait_empty(0)
        spool.done(out)
        waiting = threading.Thread(target=lambda: seen.append(spool.wait_any()))
        waiting.start()
        spool.close()
        waiting.join(120)
        assert seen == [True, False]

    def test_nothing_is_lost_unseen(self, open_spool: Open) -> None:
        spool = open_spool(25)
        for name in "abcd":
            spool.put(parcel(name))
        lost = spool.dropped["spool_full"]
        found = names(spool)
        assert found == list("abcd")[lost.frames :]
        assert (lost.rows, lost.lines) == (10 * lost.frames, 20 * lost.frames)
        assert lost.frames == (0 if spool.on_disk else 2)

    def test_a_frame_that_rests_lets_others_pass(self, open_spool: Open) -> None:
        spool = open_spool()
        for name in "ab":
            spool.put(parcel(name))
        first = spool.take()
        assert first
        spool.again(first, 3_600.0)
        assert names(spool) == ["b"]
        assert spool.unsent_frames == 2
        assert not spool.wait_empty(0)
        spool.hurry()
        assert names(spool) == ["a"]

    def test_a_rest_ends_by_itself(self, open_spool: Open) -> None:
        spool = open_spool()
        spool.put(parcel("a"))
        first = spool.take()
        assert first
        spool.again(first, 0.05)
        assert spool.take() is None
        assert spool.wait_any()  # at the end of the rest
        assert names(spool) == ["a"]

    def test_several_at_once_in_order_and_shared_by_takers(self, open_spool: Open) -> None:
        spool = open_spool()
        for name in "abcdefgh":
            spool.put(parcel(name))
        taken = [one.identity for one in spool.take_many(3, 1_000, 2, live_first=True)]
        assert taken == ["a", "b", "c"]
        taken = [one.identity for one in spool.take_many(16, 1_000, 2, live_first=False)]
        assert taken == ["d", "e", "f"]  # half of five
        assert len(spool.take_many(16, 1, 1, live_first=True)) == 1  # one may be larger than the bytes
        assert [one.identity for one in spool.take_many(16, 1_000, 4, live_first=True)] == ["h"]

    def test_put_to_be_on_disk_at_once(self, open_spool: Open) -> None:
        """A sender sees no difference, in every outcome of the frame."""
        spool = open_spool()
        for number, name in enumerate("abcd", 1):
            spool.put(parcel(name, number=number), at_once=True)
        assert (spool.unsent_frames, spool.unsent_bytes) == (4, 40)
        taken = spool.take_many(2, 1_000, 1, live_first=True)
        spool.done(taken[0])
        spool.again(taken[1])
        assert not spool.wait_over(2, 0)
        assert spool.wait_over(1, 0) is (taken[0].identity == "a")
        spool.keep_old(0.0)
        assert len(names(spool)) == 3
