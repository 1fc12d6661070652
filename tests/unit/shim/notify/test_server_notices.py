"""Problems of the server, each with its first time."""

from __future__ import annotations

from shim.notify.server_notices import ServerNotices


def test_a_problem_keeps_its_time_until_it_is_over() -> None:
    now = iter([1.0, 2.0, 3.0, 4.0])
    notices = ServerNotices(lambda: next(now))
    notices.replace("files", ["a", "b"])
    notices.replace("files", ["b", "c"])
    notices.replace("names", ["d"])
    assert [(one.text, one.since_s) for one in notices.all()] == [("b", 1.0), ("c", 2.0), ("d", 3.0)]
    notices.replace("files", [])
    assert [one.text for one in notices.all()] == ["d"]


def test_a_topic_has_a_bound() -> None:
    notices = ServerNotices()
    notices.replace("files", [str(n) for n in range(250)])
    assert len(notices.all()) == 100
    assert notices.all()[-1].text == "151 further problems of files"
