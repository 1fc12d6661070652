"""The agent's time: which clock counts, and that a step is seen as one jump."""

from __future__ import annotations

from agent.runtime.clock import Clock

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000


class Machine:
    """A machine whose clock can be stepped, and an indexer whose clock is right."""

    def __init__(self, ahead_ms: int = 0, max_skew_ms: int = 60_000) -> None:
        self.passed_ms = 0
        self.ahead_ms = ahead_ms
        self.clock = Clock(
            max_skew_ms, lambda: START_MS + self.passed_ms + self.ahead_ms, lambda: self.passed_ms
        )

    def ask(self, trip_ms: int = 20) -> bool:
        sent_ms = self.clock.machine_ms()
        theirs_ms = START_MS + self.passed_ms + trip_ms // 2
        self.passed_ms += trip_ms
        return self.clock.measured(sent_ms, self.clock.machine_ms(), theirs_ms)

    @property
    def error_ms(self) -> int:
        """How far the agent's time is ahead of the indexer's."""
        return self.clock.now_ms() - START_MS - self.passed_ms


def test_a_stop_between_the_looks_at_two_clocks_is_no_step() -> None:
    """A busy machine may stop the process anywhere, and for seconds."""
    passed_ms, looks = 0, 0

    def machine_ms() -> int:
        nonlocal passed_ms, looks
        looks += 1
        seen_ms = START_MS + passed_ms
        passed_ms += 5_000 if looks == 2 else 0
        return seen_ms

    clock = Clock(60_000, machine_ms, lambda: passed_ms)
    assert clock.jump_ms() == 0
    assert (passed_ms, clock.steps, clock.now_ms()) == (5_000, 0, START_MS + 5_000)


def test_a_small_skew_is_only_known() -> None:
    machine = Machine(ahead_ms=59_000)
    assert not machine.ask()
    assert (machine.clock.skew_ms, machine.clock.offset_ms, machine.error_ms) == (59_000, 0, 59_000)
    assert machine.clock.jump_ms() == 0


def test_beyond_the_bound_the_indexers_time_counts() -> None:
    for ahead_ms in (2 * DAY_MS, -2 * DAY_MS):
        machine = Machine(ahead_ms)
        assert machine.ask()
        assert (machine.clock.skew_ms, machine.error_ms) == (ahead_ms, 0)
        assert machine.clock.jump_ms() == -ahead_ms
        assert machine.clock.jump_ms() == 0
        assert not machine.ask()


def test_a_bound_of_zero_is_never() -> None:
    machine = Machine(2 * DAY_MS, max_skew_ms=0)
    assert not machine.ask()
    assert (machine.clock.skew_ms, machine.error_ms) == (2 * DAY_MS, 2 * DAY_MS)


def test_a_clock_put_right_counts_again_without_a_jump_of_the_time() -> None:
    machine = Machine(2 * DAY_MS)
    machine.ask()
    machine.clock.jump_ms()
    machine.ahead_ms = 100
    assert machine.clock.jump_ms() == 0
    assert (machine.clock.offset_ms, machine.clock.steps, machine.error_ms) == (0, 1, 100)


def test_a_step_goes_on_by_the_indexers_time() -> None:
    """Once the indexer's time is known it holds over a step, until the next answer."""
    machine = Machine()
    machine.ask()
    machine.ahead_ms = -3_600_000
    assert machine.clock.jump_ms() == 0
    assert (machine.clock.skew_ms, machine.error_ms) == (-3_600_000, 0)


def test_a_second_step_before_the_next_answer_is_followed_too() -> None:
    """The first step forgets the answers; the skew that it left is known all the same."""
    machine = Machine()
    machine.ask()
    machine.ahead_ms = 2 * DAY_MS
    assert machine.clock.jump_ms() == 0
    machine.ahead_ms = 0
    assert machine.clock.jump_ms() == 0
    assert (machine.clock.skew_ms, machine.clock.offset_ms, machine.error_ms) == (0, 0, 0)


def test_an_answer_that_comes_between_a_step_and_the_look_at_it_is_no_jump() -> None:
    for ahead_ms, answers in ((2 * DAY_MS, 1), (2 * DAY_MS, 5), (-2 * DAY_MS, 1)):
        machine = Machine(ahead_ms)
        for _ in range(answers):
            machine.ask()
        machine.clock.jump_ms()
        machine.ahead_ms = 0
        assert not machine.ask()
        assert (machine.clock.skew_ms, machine.error_ms) == (0, 0)
        assert machine.clock.jump_ms() == 0
        assert not machine.ask()
        assert (machine.clock.steps, machine.error_ms) == (1, 0)


def test_a_step_without_an_indexer_is_a_jump() -> None:
    machine = Machine()
    machine.ahead_ms = -3_600_000
    assert machine.clock.jump_ms() == -3_600_000
    assert machine.clock.steps == 1
    machine.ahead_ms += 900  # the clock is slewed, not stepped
    assert machine.clock.jump_ms() == 0


def test_one_odd_answer_changes_nothing_and_a_slow_one_is_not_taken() -> None:
    machine = Machine()
    for _ in range(5):
        machine.ask()
    machine.clock.measured(START_MS, START_MS, START_MS - DAY_MS)
    assert machine.clock.offset_ms == 0
    assert not Machine(DAY_MS).ask(trip_ms=5_000)
    assert not Machine(DAY_MS).clock.measured(START_MS, START_MS, 0), "an indexer that does not say"
