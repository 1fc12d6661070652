"""The spool: order, the bound, and the frames that are out while it is full."""

from __future__ import annotations

from agent.forward.spool.record import EncodedFrame
from agent.forward.spool.spool import Spool


def parcel(name: str, size: int = 10) -> EncodedFrame:
    return EncodedFrame(name, b"x" * size, rows=size)


def names(spool: Spool) -> list[str]:
    out = []
    while (taken := spool.take()) is not None:
        out.append(taken.identity)
    return out


def test_oldest_first() -> None:
    spool = Spool(1_000)
    for name in "abc":
        spool.put(parcel(name))
    assert (spool.unsent_frames, spool.unsent_bytes) == (3, 30)
    assert names(spool) == ["a", "b", "c"]


def test_the_oldest_is_dropped_when_full() -> None:
    spool = Spool(25)
    for name in "abcd":
        spool.put(parcel(name))
    assert (spool.dropped_frames, spool.dropped_rows) == (2, 20)
    assert spool.unsent_bytes == 20
    assert names(spool) == ["c", "d"]


def test_a_frame_larger_than_all_is_dropped_at_once() -> None:
    spool = Spool(25)
    spool.put(parcel("big", 26))
    assert (spool.dropped_frames, spool.unsent_bytes, spool.unsent_frames) == (1, 0, 0)


def test_a_frame_that_is_out_is_not_dropped_but_counts() -> None:
    spool = Spool(25)
    spool.put(parcel("a"))
    out = spool.take()
    assert out is not None
    for name in "bcd":
        spool.put(parcel(name))
    assert spool.unsent_bytes == 20  # a, and the newest that fits beside it
    spool.done(out)
    assert spool.unsent_bytes == 10
    assert names(spool) == ["d"]
    assert spool.dropped_frames == 2


def test_again_is_the_oldest_and_may_be_dropped() -> None:
    spool = Spool(25)
    spool.put(parcel("a"))
    spool.put(parcel("b"))
    out = spool.take()
    assert out is not None
    spool.again(out)
    assert names(spool) == ["a", "b"]
    spool = Spool(25)
    spool.put(parcel("a"))
    out = spool.take()
    assert out is not None
    spool.put(parcel("b", 15))
    spool.again(out)
    spool.put(parcel("c"))
    assert names(spool) == ["b", "c"]
    assert spool.dropped_frames == 1
