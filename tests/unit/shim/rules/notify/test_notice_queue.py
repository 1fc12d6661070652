"""Which alerts are due, and which wait."""

from __future__ import annotations

from shim.rules.notify.alert_json import TenantAlert
from shim.rules.notify.notice_queue import NoticeQueue
from shim.rules.notify.resend_book import ResendBook
from tests.unit.shim.rules.notify.notices import alert


def queue(max_alerts: int = 10) -> NoticeQueue:
    return NoticeQueue(max_alerts, key=lambda a: a.labels, group=lambda a: a.name)


def due(book: ResendBook, one: TenantAlert, *times_ms: int) -> list[int]:
    return [now_ms for now_ms in times_ms if list(book.due([one], now_ms))]


def test_an_alert_is_sent_at_once_and_again_after_the_resend_delay() -> None:
    book = ResendBook(60_000, of_resolved=True)
    assert due(book, alert(), 0, 15_000, 59_999, 60_000, 75_000, 120_000) == [0, 60_000, 120_000]
    assert due(book, alert(resolved_ms=1), 120_001, 125_000, 180_001) == [120_001, 180_001]
    assert due(book, alert(fired_ms=180_002), 180_002) == [180_002]


def test_a_webhook_is_told_once_that_an_alert_is_resolved() -> None:
    book = ResendBook(60_000, of_resolved=False)
    assert due(book, alert(), 0, 60_000) == [0, 60_000]
    assert due(book, alert(resolved_ms=1), 60_001, 120_001, 900_000) == [60_001]


def test_tenants_do_not_share_an_alert() -> None:
    book = ResendBook(60_000, of_resolved=True)
    assert len(list(book.due([alert(tenant="1:1"), alert(tenant="2:1")], 0))) == 2


def test_alerts_that_are_gone_are_forgotten() -> None:
    book = ResendBook(60_000, of_resolved=True)
    for number in range(100):
        list(book.due([alert(n=str(number))], number))
    list(book.due([alert(n="last")], 7_200_000))
    assert len(book._told) == 1


def test_the_oldest_are_dropped_where_too_many_wait() -> None:
    waiting = queue(3)
    assert [waiting.put(alert(n=str(number))) for number in range(5)] == [0, 0, 0, 1, 1]
    assert [dict(a.labels)["n"] for a in waiting.take(10)] == ["2", "3", "4"]
    assert len(waiting) == 0


def test_a_later_state_takes_the_place_of_the_one_that_waits() -> None:
    waiting = queue()
    over = alert(n="0", resolved_ms=7)
    for one in (alert(n="0"), alert(n="1"), over):
        waiting.put(one)
    assert waiting.take(1) == [over]
    assert len(waiting) == 1


def test_a_batch_has_one_group_and_a_bound() -> None:
    waiting = queue()
    for one in (alert("A", n="0"), alert("B"), alert("A", n="1"), alert("A", n="2")):
        waiting.put(one)
    taken = [[(a.name, dict(a.labels).get("n")) for a in waiting.take(2)] for _ in range(3)]
    assert taken == [[("A", "0"), ("A", "1")], [("B", None)], [("A", "2")]]


def test_a_batch_that_is_tried_again_has_the_latest_states() -> None:
    waiting, over = queue(), alert(n="0", resolved_ms=7)
    batch = [alert(n="0"), alert(n="1")]
    waiting.put(over)
    assert waiting.newest(batch) == [over, batch[1]]
    assert len(waiting) == 0


def test_one_tenant_does_not_displace_the_alerts_of_others() -> None:
    waiting = NoticeQueue(10, key=lambda a: (a.tenant, a.labels), group=lambda a: a.tenant)
    dropped = sum(waiting.put(alert(tenant="2:1", n=str(number))) for number in range(20))
    dropped += sum(waiting.put(alert(tenant="1:1", n=str(number))) for number in range(3))
    dropped += sum(waiting.put(alert(tenant="2:1", n=str(number))) for number in range(20, 40))
    assert (len(waiting), dropped) == (10, 33)
    batches = [[(a.tenant, dict(a.labels)["n"]) for a in waiting.take(2)] for _ in range(4)]
    assert batches == [
        [("2:1", "33"), ("2:1", "34")],
        [("1:1", "0"), ("1:1", "1")],
        [("2:1", "35"), ("2:1", "36")],
        [("1:1", "2")],
    ]
    assert len(waiting) == 3
