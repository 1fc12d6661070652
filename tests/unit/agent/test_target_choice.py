"""Which of several indexers gets new frames."""

from __future__ import annotations

from collections import Counter

from agent.forward.target_choice import TargetChoice, rendezvous

URLS = [f"http://indexer-{n}:8126" for n in range(3)]


def choice(**changed: object) -> TargetChoice:
    times = {"failover_s": 10.0, "return_s": 30.0, "try_every_s": 15.0} | changed
    return TargetChoice(3, **times)  # type: ignore[arg-type]


def test_agents_spread_over_indexers_and_only_those_of_a_missing_one_move() -> None:
    orders = {name: rendezvous(URLS, name, "host") for name in map(str, range(600))}
    assert orders == {name: rendezvous(reversed(URLS), name, "host") for name in orders}
    first = Counter(order[0] for order in orders.values())
    assert all(150 < count < 250 for count in first.values())
    for order in orders.values():
        rest = [url for url in order if url != URLS[1]]
        assert rendezvous(set(URLS) - {URLS[1]}, *names(orders, order)) == rest
    assert rendezvous(URLS, "a", "host-1") != rendezvous(URLS, "a", "host-9") or len(first) == 3


def names(orders: dict[str, list[str]], order: list[str]) -> tuple[str, str]:
    return next(name for name, found in orders.items() if found is order), "host"


def test_one_that_fails_for_long_is_left_and_gets_its_frames_back_after_a_while() -> None:
    it = choice()
    assert it.current(0.0) == 0
    it.failed(0, 1.0)
    it.failed(0, 9.0)
    assert it.current(10.9) == 0
    assert it.current(11.0) == 1
    it.answered(1, 12.0)
    it.answered(0, 20.0)
    assert it.current(49.0) == 1, "it has not answered for long enough"
    it.failed(0, 49.5)
    assert it.current(50.5) == 1
    it.answered(0, 60.0)
    assert it.current(90.0) == 0


def test_an_answer_ends_a_failure() -> None:
    it = choice()
    it.failed(0, 1.0)
    it.answered(0, 8.0)
    it.failed(0, 9.0)
    assert it.current(18.9) == 0


def test_all_are_down() -> None:
    it = choice()
    for at in range(3):
        it.failed(at, 1.0)
    assert it.current(20.0) == 0, "none is better"
    it.answered(2, 21.0)
    assert it.current(21.0) == 2


def test_one_that_is_down_is_tried_now_and_then() -> None:
    it = choice()
    it.failed(0, 0.0)
    assert it.current(10.0) == 1
    assert not it.may_try(0, 20.0)
    assert it.may_try(0, 25.0)
    it.tried(0, 25.0)
    assert not it.may_try(0, 26.0)
    assert 0 < it.change_in_s(26.0) <= 14.0
    it.answered(0, 27.0)
    assert not it.may_try(0, 50.0), "it waits for its turn"


def test_one_that_is_gone_gets_nothing() -> None:
    it = choice(gone=[0])
    assert it.current(0.0) == 1
    assert it.is_down(0, 0.0)
    it.failed(0, 0.0)
    assert not it.may_try(0, 100.0)
