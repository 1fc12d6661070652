"""Queries of one thread: each has its own error, none begins late, and those that are done outlive an end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from shim.engine.instant_batch import InstantBatch
from shim.model.errors import ExecutionError


class Answers:
    """Answers with the text of the query; may end its batch at one."""

    def __init__(self, end_at: str = "") -> None:
        self.asked: list[str] = []
        self.end_at = end_at
        self.canceled = 0
        self.batch: InstantBatch[str] = InstantBatch(self.answer, self.reader, str)

    def reader(self) -> Any:
        return SimpleNamespace(cancel=self.cancel)

    def cancel(self) -> None:
        self.canceled += 1

    def answer(self, reader: Any, query: str) -> Any:
        del reader
        self.asked.append(query)
        if query == "bad":
            raise ExecutionError("no")
        if query == self.end_at:
            self.batch.cancel()
        return cast("Any", query)


def test_an_error_is_that_of_its_query_alone() -> None:
    of = Answers()
    of.batch.run(["a", "bad", "b"], 3_600)
    assert [str(one.value) for one in of.batch.found] == ["a", "no", "b"]
    assert isinstance(of.batch.found[1].value, ExecutionError)


def test_none_but_the_first_begins_once_the_time_is_over() -> None:
    of = Answers()
    of.batch.run(["a", "b"], 0.0)
    assert of.asked == ["a"]


def test_a_batch_that_is_canceled_ends_the_query_that_runs_and_begins_no_more() -> None:
    of = Answers(end_at="b")
    of.batch.run(["a", "b", "c"], 3_600)
    assert (of.asked, of.canceled) == (["a", "b"], 1)
    assert [one.value for one in of.batch.found][:1] == ["a"]
