"""Which alerts are due, and which wait."""

from __future__ import annotations

from collections.abc import Sequence

from shim.rules.notify.alert_json import TenantAlert
from shim.rules.notify.notice_queue import MAX_TROUBLED, NoticeMessage, NoticeQueue
from shim.rules.notify.resend_book import ResendBook
from tests.unit.shim.rules.notify.notices import alert


def queue(max_alerts: int = 10) -> NoticeQueue:
    return NoticeQueue(max_alerts, key=lambda a: a.labels, group=lambda a: a.name)


def taken(waiting: NoticeQueue, max_batch: int = 10, now_s: float = 0.0) -> Sequence[TenantAlert]:
    """Take a message, which is delivered."""
    message = waiting.take(max_batch, now_s)
    if message is None:
        return []
    waiting.done(message)
    return message.alerts


def failed(waiting: NoticeQueue, due_s: float, max_batch: int = 10, now_s: float = 0.0) -> NoticeMessage:
    """Take a message that fails."""
    message = waiting.take(max_batch, now_s)
    assert message is not None
    message.due_s = due_s
    assert waiting.again(message, [message]) == 0
    return message


def due(book: ResendBook, one: TenantAlert, *times_ms: int) -> list[int]:
    return [now_ms for now_ms in times_ms if list(book.due([one], now_ms))]


def test_an_alert_is_sent_at_once_and_again_after_the_resend_delay() -> None:
    book = ResendBook(60_000, of_resolved=True)
    assert due(book, alert(), 0, 15_000, 59_999, 60_000, 75_000, 120_000) == [0, 60_000, 120_000]
    assert due(book, alert(resolved_ms=1), 120_001, 125_000, 180_001) == [120_001, 180_001]
    assert due(book, alert(fired_ms=180_002), 180_002) == [180_002]


def test_a_clock_that_was_ahead_keeps_no_alert_back() -> None:
    book = ResendBook(60_000, of_resolved=True)
    assert due(book, alert(), 3_600_000, 10_000, 20_000, 70_000) == [3_600_000, 10_000, 70_000]


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


def numbers(alerts: Sequence[TenantAlert]) -> list[str]:
    return [dict(one.labels)["n"] for one in alerts]


def test_the_oldest_are_dropped_where_too_many_wait() -> None:
    waiting = queue(3)
    assert [waiting.put(alert(n=str(number))) for number in range(5)] == [0, 0, 0, 1, 1]
    assert numbers(taken(waiting)) == ["2", "3", "4"]
    assert len(waiting) == 0


def test_a_later_state_takes_the_place_of_the_one_that_waits() -> None:
    waiting = queue()
    over = alert(n="0", resolved_ms=7)
    for one in (alert(n="0"), alert(n="1"), over):
        waiting.put(one)
    assert taken(waiting, 1) == [over]
    assert len(waiting) == 1


def test_a_batch_has_one_group_and_a_bound() -> None:
    waiting = queue()
    for one in (alert("A", n="0"), alert("B", n="9"), alert("A", n="1"), alert("A", n="2")):
        waiting.put(one)
    batches = [taken(waiting, 2) for _ in range(3)]
    assert [[(a.name, dict(a.labels)["n"]) for a in batch] for batch in batches] == [
        [("A", "0"), ("A", "1")], [("B", "9")], [("A", "2")],
    ]  # fmt: skip


def test_a_message_that_is_tried_again_has_the_latest_states() -> None:
    waiting, over = queue(), alert(n="0", resolved_ms=7)
    waiting.sends_newest = True
    first, second = alert(n="0"), alert(n="1")
    waiting.put(first)
    waiting.put(second)
    failed(waiting, due_s=5.0)
    waiting.put(over)
    assert taken(waiting, now_s=4.9) == []  # it waits for the message with its earlier state
    assert waiting.next_due_s(0.0) == 5.0
    assert taken(waiting, now_s=5.0) == [over, second]
    assert len(waiting) == 0


def test_one_tenant_does_not_displace_the_alerts_of_others() -> None:
    waiting = NoticeQueue(10, key=lambda a: (a.tenant, a.labels), group=lambda a: a.tenant)
    dropped = sum(waiting.put(alert(tenant="2:1", n=str(number))) for number in range(20))
    dropped += sum(waiting.put(alert(tenant="1:1", n=str(number))) for number in range(3))
    dropped += sum(waiting.put(alert(tenant="2:1", n=str(number))) for number in range(20, 40))
    assert (len(waiting), dropped) == (10, 33)
    batches = [[(a.tenant, dict(a.labels)["n"]) for a in taken(waiting, 2)] for _ in range(4)]
    assert batches == [
        [("2:1", "33"), ("2:1", "34")],
        [("1:1", "0"), ("1:1", "1")],
        [("2:1", "35"), ("2:1", "36")],
        [("1:1", "2")],
    ]
    assert len(waiting) == 3


def by_name(max_alerts: int = 10) -> NoticeQueue:
    """Return the queue of a webhook."""
    return NoticeQueue(
        max_alerts, key=lambda a: (a.tenant, a.labels, a.status), group=lambda a: (a.tenant, a.name)
    )


def test_a_message_that_fails_holds_up_only_the_same_alerts() -> None:
    waiting = by_name()
    waiting.put(alert(n="0"))
    message = failed(waiting, due_s=60.0)
    for one in (alert(n="0", resolved_ms=7), alert(n="1"), alert(tenant="2:1", n="2")):
        waiting.put(one)
    batches = [numbers(taken(waiting)) for _ in range(3)]
    assert batches == [["2"], ["1"], []]
    retried = waiting.take(10, 60.0)
    assert retried is not None
    assert list(retried.alerts) == list(message.alerts)  # the same, not the later state
    waiting.done(retried)
    assert [a.status for a in taken(waiting)] == ["resolved"]


def test_a_message_of_several_tenants_that_fails_is_tried_again_for_each() -> None:
    waiting = NoticeQueue(10, key=lambda a: (a.tenant, a.labels), group=lambda _: None)
    for tenant in ("1:1", "2:1", "1:1"):
        waiting.put(alert(tenant=tenant, n=str(len(waiting))))
    failed(waiting, due_s=1.0)
    assert [[a.tenant for a in taken(waiting, now_s=1.0)] for _ in range(3)] == [["2:1"], ["1:1", "1:1"], []]


def test_troubled_tenants_have_few_messages_on_their_way_and_others_go_on() -> None:
    waiting = by_name(100)
    for number in range(5):
        waiting.put(alert(tenant=f"{number}:1", n="0"))
        failed(waiting, due_s=1.0)
    on_their_way = [waiting.take(10, 2.0) for _ in range(5)]
    assert [message is not None for message in on_their_way] == [True] * MAX_TROUBLED + [False] * 3
    waiting.put(alert(tenant="9:1", n="9"))
    waiting.put(alert(tenant="0:1", n="9"))  # it is on its way: its next message waits
    assert numbers(taken(waiting, now_s=2.0)) == ["9"]
    assert waiting.take(10, 2.0) is None


def test_messages_that_failed_count_to_the_bound_and_leave_nothing() -> None:
    waiting = by_name(3)
    for number in range(3):
        waiting.put(alert(f"A{number}", n="0"))
        failed(waiting, due_s=9.0)
    assert [waiting.put(alert("B", n=str(number))) for number in range(2)] == [1, 1]
    assert len(waiting) == 3
    assert numbers(taken(waiting)) == ["0", "1"]
    for number in range(2):
        assert waiting.put(alert("C", tenant="2:1", n=str(number))) == 0
    while taken(waiting, now_s=9.0):
        pass
    assert (len(waiting), waiting.on_their_way, len(waiting._tenants)) == (0, 0, 0)
