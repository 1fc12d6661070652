"""Requests answered 503: one each for requests that come again, in the file too, and bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.receive.pending_requests import PendingRequest, PendingRequests


def request(number: int, name: bytes = b"n") -> PendingRequest:
    return PendingRequest(name, f"key-{number}", number)


def test_each_is_claimed_once_and_the_oldest_first() -> None:
    pending = PendingRequests(10)
    assert pending.claim(b"n") is None
    for number in (1, 2):
        pending.remember(request(number))
    assert [pending.claim(b"n") for _ in range(3)] == [request(1), request(2), None]
    pending.remember(request(2))
    pending.resolve(request(1))
    assert len(pending) == 1
    assert pending.claim(b"n") == request(2)


def test_the_oldest_go_and_are_counted() -> None:
    dropped: list[int] = []
    pending = PendingRequests(3, on_drop=lambda: dropped.append(1))
    for number in range(5):
        pending.remember(request(number))
    assert (len(pending), len(dropped)) == (3, 2)
    assert [pending.claim(b"n") for _ in range(4)] == [request(2), request(3), request(4), None]


def test_a_claimed_one_may_go_and_come_back() -> None:
    pending = PendingRequests(1)
    pending.remember(request(1))
    claimed = pending.claim(b"n")
    pending.remember(request(2, b"other"))
    assert claimed is not None
    pending.remember(claimed)
    assert pending.claim(b"n") == claimed


@pytest.mark.parametrize("bound", [2, 10])
def test_the_file_has_those_that_are_not_resolved(tmp_path: Path, bound: int) -> None:
    path = tmp_path / "journal.sqlite"
    pending = PendingRequests(10, path)
    for number in range(4):
        pending.remember(request(number))
    claimed = pending.claim(b"n")
    assert claimed == request(0)
    pending.resolve(claimed)
    assert pending.claim(b"n") == request(1)  # and the process dies before it is answered
    pending.close()
    again = PendingRequests(bound, path)
    expected = [request(1), request(2), request(3)][-bound:]
    assert [again.claim(b"n") for _ in range(len(expected) + 1)] == [*expected, None]
    again.close()
    assert len(PendingRequests(10, path)) == len(expected)
