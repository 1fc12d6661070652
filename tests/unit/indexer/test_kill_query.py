"""Ending statements by their tag: here, on other nodes, and where a user may not."""

from __future__ import annotations

import logging

import pytest

from indexer.clickhouse.kill_query import KillQuery
from indexer.clickhouse.store_errors import StoreError


class _Nodes:
    """Statements that were run; `code` answers those on all nodes, and `own_code` those on this one."""

    def __init__(self, *, found: bool = False, code: int | None = 0, own_code: int = 0) -> None:
        self.ran: list[str] = []
        self.failed = 0
        self._found, self._code, self._own_code = found, code, own_code

    def allow(self) -> None:
        """Grant the right."""
        self._code = 0

    def end(self, kills: KillQuery) -> None:
        kills.failed = self._count
        kills.end("tag", self._here, self._everywhere)

    def _count(self) -> None:
        self.failed += 1

    def _here(self, sql: str) -> bool:
        self._note(sql, self._own_code)
        return self._found

    def _everywhere(self, sql: str) -> None:
        self._note(sql, self._code)

    def _note(self, sql: str, code: int | None) -> None:
        self.ran.append(sql.partition(" WHERE")[0])
        if code != 0:
            raise StoreError("refused", retryable=code is None, code=code)


HERE, EVERYWHERE = "KILL QUERY", "KILL QUERY ON CLUSTER `main`"


@pytest.mark.parametrize(
    ("cluster", "nodes", "ran"),
    [
        (None, _Nodes(), [HERE]),
        ("main", _Nodes(found=True), [HERE]),
        ("main", _Nodes(), [HERE, EVERYWHERE]),
    ],
)
def test_other_nodes_are_asked_where_this_one_has_none(
    cluster: str | None, nodes: _Nodes, ran: list[str]
) -> None:
    nodes.end(KillQuery(cluster))
    assert (nodes.ran, nodes.failed) == (ran, 0)


@pytest.mark.parametrize(
    ("nodes", "ran", "said"),
    [
        (_Nodes(code=164), [HERE, EVERYWHERE, HERE, HERE], "cluster code=164"),  # readonly = 2
        (_Nodes(code=392), [HERE, EVERYWHERE, HERE, HERE], "cluster code=392"),
        # no grant on system.processes
        (_Nodes(own_code=497), [HERE, EVERYWHERE, EVERYWHERE, EVERYWHERE], "here code=497"),
    ],
)
def test_a_refusal_is_said_once_and_counted_each_time(
    nodes: _Nodes, ran: list[str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    kills = KillQuery("main")
    with caplog.at_level(logging.WARNING, "indexer.clickhouse.kill_query"):
        for _ in range(3):
            nodes.end(kills)
    assert nodes.ran == ran
    assert nodes.failed == 3
    assert [one.partition(" text=")[0] for one in caplog.messages] == [f"event=kill_refused where={said}"]


def test_a_refusal_is_asked_for_again_after_some_minutes(caplog: pytest.LogCaptureFixture) -> None:
    """An operator mends the grant while the process lives."""
    now_s = [0.0]
    kills, nodes = KillQuery("main", lambda: now_s[0]), _Nodes(code=497)
    with caplog.at_level(logging.WARNING, "indexer.clickhouse.kill_query"):
        for now_s[0] in (0.0, 299.0, 301.0):
            nodes.end(kills)
        assert (nodes.ran.count(EVERYWHERE), nodes.failed) == (2, 3)
        nodes.allow()
        for now_s[0] in (302.0, 602.0, 603.0):
            nodes.end(kills)
    assert (nodes.ran.count(EVERYWHERE), nodes.failed) == (4, 4)
    assert [one.split()[0] for one in caplog.messages] == ["event=kill_refused", "event=kill_allowed"]


def test_a_server_that_is_away_is_asked_again() -> None:
    kills, nodes = KillQuery("main"), _Nodes(code=None)
    for _ in range(2):
        with pytest.raises(StoreError):
            nodes.end(kills)
    assert nodes.ran == [HERE, EVERYWHERE] * 2
    assert nodes.failed == 2
