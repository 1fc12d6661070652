"""The agent's spool as a user meets it: outages, kill -9, SIGTERM, restarts; real processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agent.agent_process import Process, send_tcp, start
from tests.integration.agent.conftest import FakeIndexer, get, wait_until
from tests.support.cores.rows import CORES
from tests.unit.agent.state import State, merge, state_of_frames

__all__ = ["start"]  # the fixture


def settings(path: Path, **changes: Any) -> dict[str, Any]:
    return {"spool": {"path": str(path)}, "unix": "", "unix_stream": "", **changes}


def total(indexer: FakeIndexer) -> float:
    """Return the counter's sum over distinct frames, as the indexer would store it."""
    frames = {frame.identity: frame for frame in indexer.frames()}
    state: State = merge(state_of_frames(frames.values()))
    return sum(float(value) for (_, name, _, _), value in state.items() if name == "c")


@pytest.mark.parametrize("core", CORES)
def test_sigterm_while_the_indexer_is_away_keeps_all(
    start: Callable[..., Process], indexer: FakeIndexer, tmp_path: Path, core: str
) -> None:
    """It leaves at once, with exit code 0, and the next run sends the same frames."""
    indexer.stop()
    forward = {"url": indexer.url, "backoff_s": 0.05, "drain_s": 300}
    agent = start(core=core, **settings(tmp_path / "spool", forward=forward))
    send_tcp(agent, b"c:1|c\n" * 50)
    wait_until(lambda: agent.metric("lines_total") == 50)
    before_s = time.monotonic()
    code, _, err = agent.stop()
    assert code == 0
    assert time.monotonic() - before_s < 60  # drain_s is 300
    assert "on_disk=1" in err
    indexer.restart()
    again = start(core=core, **settings(tmp_path / "spool"))
    wait_until(lambda: total(indexer) == 50)
    wait_until(lambda: again.metric("unsent_frames") == 0)
    assert again.metric("spool_recovered_frames") == 1
    assert again.metric("sent_lines_total") == 50
    assert again.metric("spool_bytes") == 0
    assert again.stop()[0] == 0


def test_kill_9_in_an_outage_loses_no_spooled_frame(
    start: Callable[..., Process], indexer: FakeIndexer, tmp_path: Path
) -> None:
    indexer.always = 503
    aggregate = {"aggregate": {"max_entries": 16}}  # frames leave at once
    agent = start(core="python", **settings(tmp_path / "spool"), **aggregate)
    for part in range(5):
        send_tcp(agent, b"".join(b"c:1|c|#n:%d\n" % n for n in range(20 * part, 20 * part + 20)))
        wait_until(partial(lambda n: agent.metric("lines_total") == n, 20 * (part + 1)))
    wait_until(lambda: agent.metric("spool_frames") >= 5)
    wait_until(lambda: agent.metric("send_retries_total") >= 2)
    status, text = get(f"http://{agent.at.ops}/readyz")
    assert status == 503
    assert "frames are kept on disk" in text
    assert agent.metric("oldest_unsent_frame_age_seconds") > 0
    agent.process.kill()
    agent.process.communicate()
    tried = dict.fromkeys(indexer.bodies)
    indexer.always = None
    again = start(core="python", **settings(tmp_path / "spool"), **aggregate)
    wait_until(lambda: again.metric("unsent_frames") == 0)
    assert again.metric("spool_recovered_frames") >= 5
    assert again.metric("sent_lines_total") >= 80  # an open bucket of up to 16 entries was never in a frame
    assert set(tried) <= set(indexer.accepted)  # the very same bytes
    assert again.metric("sent_frames_total") == len({frame.identity for frame in indexer.frames()})
    assert again.stop(signal.SIGTERM)[0] == 0


def test_frames_that_are_acknowledged_at_once_are_not_written(
    start: Callable[..., Process], indexer: FakeIndexer, tmp_path: Path
) -> None:
    """On a busy machine all frames of a try may wait until they are written: then it tries again."""
    agent = start(core="python", **settings(tmp_path / "spool"), aggregate={"max_entries": 16})
    sent = 0

    def few_are_written() -> bool:
        nonlocal sent
        send_tcp(agent, b"".join(b"c:1|c|#n:%d\n" % n for n in range(200)))
        sent += 200
        wait_until(lambda: agent.metric("sent_lines_total") >= sent - 20)
        names = [path.name for path in (tmp_path / "spool").iterdir()]
        written = agent.metric("spool_written_frames_total")
        assert written or names == ["lock"]
        return written < agent.metric("sent_frames_total") / 2

    wait_until(few_are_written)
    assert agent.stop()[0] == 0
    assert total(indexer) == sent


def test_an_answer_that_hangs_puts_the_frame_on_disk(
    start: Callable[..., Process], indexer: FakeIndexer, tmp_path: Path
) -> None:
    """A stopped indexer takes the connection and says nothing for long: the frame does not wait for it."""
    indexer.script = ["hang"]
    agent = start(core="python", **settings(tmp_path / "spool"), aggregate={"max_entries": 16})
    send_tcp(agent, b"".join(b"c:1|c|#n:%d\n" % n for n in range(17)))
    wait_until(lambda: agent.metric("spool_written_frames_total") == 1)
    agent.process.kill()
    agent.process.communicate()
    indexer.release.set()
    again = start(core="python", **settings(tmp_path / "spool"))
    wait_until(lambda: again.metric("unsent_frames") == 0)
    assert again.metric("spool_recovered_frames") == 1
    assert total(indexer) >= 15


def test_sigterm_while_an_answer_hangs_keeps_the_frame(
    start: Callable[..., Process], indexer: FakeIndexer, tmp_path: Path
) -> None:
    """No try of it has failed when the time to send is over, so it was never written before."""
    indexer.script = ["hang"] * 100  # from the start: a bucket may end before the signal
    forward = {"url": indexer.url, "drain_s": 0.2}
    agent = start(core="python", **settings(tmp_path / "spool", forward=forward))
    send_tcp(agent, b"c:1|c\n" * 50)
    wait_until(lambda: agent.metric("lines_total") == 50)
    code, _, err = agent.stop()
    assert (code, "on_disk=1" in err) == (0, True), err
    indexer.script = []
    indexer.release.set()
    again = start(core="python", **settings(tmp_path / "spool"))
    wait_until(lambda: again.metric("unsent_frames") == 0)
    assert again.metric("spool_recovered_frames") == 1
    assert total(indexer) == 50


def test_a_spool_is_of_one_agent(start: Callable[..., Process], tmp_path: Path) -> None:
    first = start(**settings(tmp_path / "spool"))
    with pytest.raises(AssertionError, match=rf"pid {first.process.pid}\) uses {tmp_path}/spool"):
        start(**settings(tmp_path / "spool"))


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("away", [False, True], ids=["indexer_there", "indexer_away"])
def test_a_checkpoint_saves_open_buckets_from_kill_9(
    start: Callable[..., Process], indexer: FakeIndexer, tmp_path: Path, core: str, away: bool
) -> None:
    """Each line that was in a checkpoint counts once, whether its frame was sent before the kill or not."""
    indexer.always = 503 if away else None
    options = settings(tmp_path / "spool", core=core)
    options["spool"]["checkpoint_ms"] = 100
    agent = start(**options)
    for part in (1, 2, 3):
        send_tcp(agent, b"c:1|c\nc:1|c|#a:b\n" * 25)
        wait_until(partial(lambda n: agent.metric("lines_total") == n, 50 * part))
        done = agent.metric("spool_checkpoints_total")
        wait_until(partial(lambda n: agent.metric("spool_checkpoints_total") >= n + 2, done))
    if not away:
        wait_until(lambda: total(indexer) == 150, "the frames of the last checkpoint arrive")
        sent = {frame.identity for frame in indexer.frames()}
        assert agent.metric("spool_written_frames_total") >= len(sent), "each is on disk before it is sent"
    agent.process.kill()
    agent.process.communicate()
    indexer.always = None
    again = start(**options)
    wait_until(lambda: again.metric("unsent_frames") == 0)
    assert total(indexer) == 150
    assert again.metric("spool_recovered_frames") >= (3 if away else 0)
    assert again.stop()[0] == 0
    assert total(indexer) == 150


def test_a_checkpoint_needs_a_spool(start: Callable[..., Process]) -> None:
    with pytest.raises(AssertionError, match=r"checkpoint_ms = 100: expected agent\.spool\.path to be set"):
        start(spool={"checkpoint_ms": 100}, unix="", unix_stream="")
