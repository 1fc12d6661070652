"""Notifications of alerts: several Alertmanagers, one that hangs, failures, secrets, the webhook."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.net.tls import listener_contexts
from agent.runtime.logs import Log
from shim.metrics import ShimMetrics
from shim.model.tenancy import TenancySettings, Tenant
from shim.notify import signed_webhook
from shim.notify.server_notices import ServerNotices
from shim.rules.alert_sink import AlertNotice
from shim.rules.notify import alert_notifier
from shim.rules.notify.alert_notifier import AlertNotifier
from shim.settings import AlertmanagerSettings, AlertWebhookSettings, ShimSettings
from tests.support.alertmanager import AlertmanagerServer
from tests.support.certificates import Authority
from tests.support.dns_server import dns_server
from tests.support.webhook_receiver import WebhookReceiver
from tests.unit.shim.rules.notify.notices import notice

TENANT = Tenant(1, 1)
SENT = "notifications_sent_total"
LENGTH = "meterhouse_shim_notification_queue_length"
KEY = "a-key-of-some-length"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_webhook, "_FIRST_PAUSE_S", 0.05)


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    made = WebhookReceiver()
    await made.start()
    yield made
    await made.stop()


@asynccontextmanager
async def notifier(
    alertmanager: AlertmanagerSettings = AlertmanagerSettings(),  # noqa: B008 - frozen
    webhook: AlertWebhookSettings = AlertWebhookSettings(),  # noqa: B008
    now_ms: Callable[[], int] | None = None,
    **given: Any,
) -> AsyncIterator[tuple[AlertNotifier, ShimMetrics]]:
    settings, metrics = ShimSettings(alertmanager=alertmanager, alert_webhook=webhook, **given), ShimMetrics()
    clock = {} if now_ms is None else {"now_ms": now_ms}
    made = AlertNotifier(settings, "http://here:9090", metrics, ServerNotices(), **clock)
    await made.start()
    try:
        yield made, metrics
    finally:
        await made.stop()


def value(metrics: ShimMetrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"meterhouse_shim_{name}", labels) or 0.0


def names(bodies: list[Any]) -> list[list[str]]:
    return [[alert["labels"]["n"] for alert in body] for body in bodies]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def live(name: str, fired_ms: int, at_ms: int, resolved_ms: int | None, **labels: str) -> AlertNotice:
    """Return an alert that is valid for four minutes from a time."""
    made = notice(name, fired_ms=fired_ms, resolved_ms=resolved_ms, **labels)
    return replace(made, valid_until_ms=at_ms + 240_000)


def many(count: int) -> list[AlertNotice]:
    return [notice(n=f"{number:05}") for number in range(count)]


async def test_alerts_go_to_all_in_batches_and_one_that_hangs_delays_none(receiver: WebhookReceiver) -> None:
    hanging = f"{receiver.url}/hang"
    of = AlertmanagerSettings(urls=[hanging, f"{receiver.url}/am/"], max_queue=70, timeout_s=60)
    async with notifier(of) as (made, metrics):
        assert made.urls == [f"{hanging}/api/v2/alerts", f"{receiver.url}/am/api/v2/alerts"]
        await made.send(TENANT, many(70))
        await receiver.until(lambda: len(receiver.requests) == 2)
        assert {path for path, _, _ in receiver.requests} == {"/am/api/v2/alerts"}
        assert [len(body) for body in receiver.bodies()] == [64, 6]
        assert names(receiver.bodies())[1] == [f"{number:05}" for number in range(64, 70)]
        await receiver.until(lambda: value(metrics, SENT, receiver=f"{receiver.url}/am") == 70)
        await made.send(TENANT, [notice(n=f"x{number}") for number in range(70)])
        dropped = value(metrics, "notifications_dropped_total", receiver=hanging, reason="queue_full")
        assert dropped == 6  # those 64 that are tried wait no more
        assert value(metrics, "notification_queue_length", receiver=hanging) == 70 + 64
        receiver.release.set()
    assert value(metrics, "alertmanagers_discovered") == 2


async def test_what_fails_is_tried_again_with_the_latest_state(receiver: WebhookReceiver) -> None:
    receiver.answers = [503]
    of = AlertmanagerSettings(urls=[receiver.url])
    async with notifier(of, now_ms=lambda: 0) as (made, metrics):
        await made.send(TENANT, [notice(n="1")])
        await receiver.until(lambda: len(receiver.requests) == 1)
        await made.send(TENANT, [notice(n="1", resolved_ms=2_000)])
        await receiver.until(lambda: len(receiver.requests) == 2)
        [[first], [second]] = receiver.bodies()
        assert (first["endsAt"], second["endsAt"]) == ("1970-01-01T00:04:01.000Z", "1970-01-01T00:00:02.000Z")
        assert value(metrics, "notification_errors_total", receiver=receiver.url) == 1


async def test_an_alert_is_valid_for_four_resend_delays(receiver: WebhookReceiver) -> None:
    """Else Alertmanager would resolve the alerts of fast groups between two requests."""
    of = AlertmanagerSettings(urls=[receiver.url], resend_s=60)
    async with notifier(of, now_ms=lambda: 10_000) as (made, _):
        await made.send(TENANT, [replace(notice(), valid_until_ms=20_000)])
        await receiver.until(lambda: len(receiver.requests) == 1)
    assert receiver.bodies()[0][0]["endsAt"] == "1970-01-01T00:04:10.000Z"


async def test_one_alert_that_is_refused_takes_no_other_along(receiver: WebhookReceiver) -> None:
    receiver.answers = [400, 200, 400, 400, 200]
    async with notifier(AlertmanagerSettings(urls=[receiver.url])) as (made, metrics):
        await made.send(TENANT, many(4))
        await receiver.until(lambda: len(receiver.requests) == 5)
        assert [[int(n) for n in batch] for batch in names(receiver.bodies())] == [
            [0, 1, 2, 3], [0, 1], [2, 3], [2], [3],
        ]  # fmt: skip
        await receiver.until(lambda: value(metrics, SENT, receiver=receiver.url) == 3)
        assert value(metrics, "notifications_dropped_total", receiver=receiver.url, reason="refused") == 1


async def test_tenants_are_named_by_labels_that_no_rule_sets(receiver: WebhookReceiver) -> None:
    tenancy = TenancySettings(mode="header")
    async with notifier(AlertmanagerSettings(urls=[receiver.url]), tenancy=tenancy) as (made, _):
        await made.send(Tenant(7, 8), [notice(org_id="1", project_id="1")])
        await made.send(Tenant(7, None), [notice(org_id="1", project_id="3")])
        await receiver.until(lambda: sum(map(len, receiver.bodies())) == 2)
    assert [alert["labels"] for body in receiver.bodies() for alert in body] == [
        {"alertname": "A", "org_id": "7", "project_id": "8"},
        {"alertname": "A", "org_id": "7", "project_id": "3"},
    ]


async def test_secrets_of_files_are_read_for_each_request(receiver: WebhookReceiver, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    of = AlertmanagerSettings(urls=[receiver.url], username="me", password_file=str(file), resend_s=1)
    clock = [0]
    async with notifier(of, now_ms=lambda: clock[0]) as (made, _):
        await made.send(TENANT, [notice()])
        await receiver.until(lambda: len(receiver.requests) == 1)
        file.write_text("second")
        clock[0] = 1_000
        await made.send(TENANT, [notice()])
        await receiver.until(lambda: len(receiver.requests) == 2)
    sent = [headers["Authorization"].removeprefix("Basic ") for _, headers, _ in receiver.requests]
    assert [base64.b64decode(text) for text in sent] == [b"me:first", b"me:second"]


async def test_https_with_both_certificates_and_a_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.listener(authority.issue("server", "alertmanager.test"), required=True)
    receiver = WebhookReceiver()
    await receiver.start(listener_contexts("test", server, Log()).current())
    url, tls = f"https://127.0.0.1:{receiver.port}", authority.client(authority.issue("shim"))
    try:
        of = AlertmanagerSettings(urls=[url], tls=tls, server_name="alertmanager.test", token="the-token")
        async with notifier(of) as (made, _):
            await made.send(TENANT, [notice()])
            await receiver.until(lambda: len(receiver.requests) == 1)
        assert receiver.requests[0][1]["Authorization"] == "Bearer the-token"
        async with notifier(AlertmanagerSettings(urls=[url], tls=tls)) as (made, metrics):
            await made.send(TENANT, [notice()])
            await receiver.until(lambda: value(metrics, "notification_errors_total", receiver=url) == 1)
        assert len(receiver.requests) == 1  # the certificate is for another name
    finally:
        await receiver.stop()


async def test_alertmanagers_of_a_file_come_and_go(receiver: WebhookReceiver, tmp_path: Path) -> None:
    file = tmp_path / "alertmanagers.yml"
    file.write_text("[]")
    of = AlertmanagerSettings(files=[str(file)], refresh_s=0.1)
    async with notifier(of) as (made, metrics):
        await made.send(TENANT, [notice()])
        assert made.urls == []
        file.write_text(f"- targets: ['127.0.0.1:{receiver.port}']")
        await receiver.until(lambda: made.urls == [f"{receiver.url}/api/v2/alerts"])
        await made.send(TENANT, [notice()])
        await receiver.until(lambda: len(receiver.requests) == 1)
        file.write_text("[]")
        await receiver.until(lambda: made.urls == [])
        await receiver.until(lambda: value(metrics, "alertmanagers_discovered") == 0)  # after its end


async def test_alertmanagers_of_a_name_server_come_and_go(receiver: WebhookReceiver) -> None:
    """Services (SRV) with addresses (A), and a name server that fails: what it said before stays."""
    port = receiver.port
    with dns_server() as server:
        server.records = {
            ("_web._tcp.am.test.", "SRV"): [f"10 5 {port} one.am.test.", f"5 5 {port} two.am.test."],
            ("one.am.test.", "A"): ["127.0.0.1"],
            ("two.am.test.", "A"): ["127.0.0.2"],
            ("plain.test.", "A"): ["127.0.0.3"],
        }
        of = AlertmanagerSettings(
            dns=["dnssrv+_web._tcp.am.test", f"dns+plain.test:{port}"],
            dns_server=server.address,
            refresh_s=0.1,
        )
        async with notifier(of) as (made, metrics):
            urls = [f"http://127.0.0.{last}:{port}/api/v2/alerts" for last in (2, 1, 3)]
            assert made.urls == urls
            await made.send(TENANT, [notice()])
            await receiver.until(lambda: len(receiver.requests) == 1)  # it listens at 127.0.0.1 alone
            del server.records["one.am.test.", "A"]
            server.records["_web._tcp.am.test.", "SRV"] = [f"5 5 {port} two.am.test."]
            await receiver.until(lambda: made.urls == [urls[0], urls[2]])
            server.refuses = True
            failures = "alertmanager_look_failures_total"
            await receiver.until(lambda: value(metrics, failures) >= 2)
            assert made.urls == [urls[0], urls[2]]
            server.refuses = False
            server.records["plain.test.", "AAAA"] = ["::1"]
            await receiver.until(lambda: len(made.urls) == 3)
            assert f"http://[::1]:{port}/api/v2/alerts" in made.urls


async def test_the_webhook_is_told_of_changes_once_and_until_it_takes_them(receiver: WebhookReceiver) -> None:
    receiver.answers = [500, 404]
    of = AlertWebhookSettings(url=f"{receiver.url}/hook?a=b", secret=KEY)
    async with notifier(webhook=of) as (made, metrics):
        for _ in range(3):
            await made.send(TENANT, [notice("A"), notice("B")])
        await made.send(TENANT, [notice("A", resolved_ms=9_000), notice("B")])
        await receiver.until(lambda: value(metrics, SENT, receiver="webhook") == 3)
    ids = Counter(headers["webhook-id"] for _, headers, _ in receiver.requests)
    assert sorted(ids.values()) == [1, 2, 2]  # A and B fail once each, and are tried again under their ids
    assert all(headers["webhook-signature"].startswith("v1,") for _, headers, _ in receiver.requests)
    taken = [(body["status"], body["commonLabels"]["alertname"]) for _, _, body in receiver.requests[2:]]
    assert sorted(taken) == [("firing", "A"), ("firing", "B"), ("resolved", "A")]
    assert taken.index(("firing", "A")) < taken.index(("resolved", "A"))


@pytest.mark.parametrize("kind", ["webhook", "alertmanager"])
async def test_a_message_that_fails_for_ever_holds_up_no_other(receiver: WebhookReceiver, kind: str) -> None:
    """An alert is answered with 500 for ever: others are told at once, and it is dropped at last."""
    receiver.fails = lambda body: "bad" in str(body)
    of: dict[str, Any] = {"alertmanager": AlertmanagerSettings(urls=[receiver.url], max_age_s=4)}
    if kind == "webhook":
        of = {"webhook": AlertWebhookSettings(url=receiver.url, max_age_s=4)}
    name = "webhook" if kind == "webhook" else receiver.url
    tenancy = TenancySettings(mode="header")
    async with notifier(**of, tenancy=tenancy) as (made, metrics):
        await made.send(Tenant(7, 1), [notice("B", n="bad")])
        await receiver.until(lambda: len(receiver.failed) >= 1)
        await made.send(Tenant(7, 1), [notice("B", n="good")])
        await made.send(Tenant(8, 1), [notice("B", n="other")])
        await receiver.until(lambda: value(metrics, SENT, receiver=name) == 2)
        await receiver.until(
            lambda: value(metrics, "notifications_dropped_total", receiver=name, reason="too_old") == 1
        )
        assert len(receiver.failed) >= 2
        assert value(metrics, "notification_queue_length", receiver=name) == 0
    ids = {headers.get("webhook-id") for _, headers, _ in receiver.requests}
    assert len(ids) == (2 if kind == "webhook" else 1)


async def test_alerts_beside_one_that_fails_for_ever_are_told(receiver: WebhookReceiver) -> None:
    """The receiver takes other messages: the one that fails is halved until the alert is alone."""
    receiver.fails = lambda body: "00005" in str(body)
    async with notifier(AlertmanagerSettings(urls=[receiver.url])) as (made, metrics):
        await made.send(TENANT, many(8))
        await receiver.until(lambda: len(receiver.failed) >= 1)
        await made.send(TENANT, [notice(n="later")])
        await receiver.until(lambda: value(metrics, SENT, receiver=receiver.url) == 8)
    assert receiver.failed[-1][0]["labels"]["n"] == "00005"


async def test_a_tenant_whose_messages_hang_delays_no_other(receiver: WebhookReceiver) -> None:
    of = AlertWebhookSettings(url=f"{receiver.url}/hook", timeout_s=2.0)
    receiver.hangs = lambda body: body["groupLabels"]["alertname"].startswith("Slow")
    async with notifier(webhook=of, tenancy=TenancySettings(mode="header")) as (made, metrics):
        await made.send(Tenant(7, 1), [notice(f"Slow{number}") for number in range(40)])
        for org_id in range(8, 18):
            await made.send(Tenant(org_id, 1), [notice("Quick")])
        await receiver.until(lambda: value(metrics, SENT, receiver="webhook") == 10)
        assert value(metrics, "notification_errors_total", receiver="webhook") < 20
        receiver.release.set()


async def test_what_is_queued_while_a_receiver_is_away_arrives_once(receiver: WebhookReceiver) -> None:
    """Nothing is tried message by message while no connection is made, nor halved, nor dropped."""
    of = AlertWebhookSettings(url=f"{receiver.url}/hook")
    await receiver.stop()
    async with notifier(webhook=of) as (made, metrics):
        await made.send(TENANT, [notice(f"N{number}") for number in range(30)])
        await receiver.until(lambda: value(metrics, "notification_errors_total", receiver="webhook") >= 3)
        assert value(metrics, "notification_errors_total", receiver="webhook") <= 8  # of 30 messages
        await receiver.start()
        await receiver.until(lambda: value(metrics, SENT, receiver="webhook") == 30)
    assert len(receiver.requests) == len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 30


async def test_stopping_sends_the_queue_and_counts_the_rest(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_notifier, "DRAIN_S", 120.0)
    async with notifier(AlertmanagerSettings(urls=[receiver.url])) as (made, _):
        await made.send(TENANT, [notice()])
    assert len(receiver.requests) == 1
    monkeypatch.setattr(alert_notifier, "DRAIN_S", 0.2)
    hanging = f"{receiver.url}/hang"
    async with notifier(AlertmanagerSettings(urls=[hanging])) as (made, metrics):
        await made.send(TENANT, [notice()])
    assert value(metrics, "notifications_dropped_total", receiver=hanging, reason="stopped") == 1
    assert metrics.registry.get_sample_value(LENGTH, {"receiver": hanging}) is None


async def test_a_real_alertmanager_groups_silences_resolves_and_is_killed(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    server = AlertmanagerServer(tmp_path, f"{receiver.url}/hook")
    await asyncio.to_thread(server.start)
    clock = [now_ms()]
    fired_ms = clock[0] - 60_000

    def current(name: str, *numbers: int, resolved_ms: int | None = None) -> list[AlertNotice]:
        return [live(name, fired_ms, clock[0], resolved_ms, n=str(number)) for number in numbers]

    def messages(status: str, name: str) -> list[list[str]]:
        """Return the numbers of a group's alerts of one status, of each message that has one."""
        of_group = [body for body in receiver.bodies() if body["groupLabels"] == {"alertname": name}]
        found = [[a["labels"]["n"] for a in body["alerts"] if a["status"] == status] for body in of_group]
        return [sorted(numbers) for numbers in found if numbers]

    of = AlertmanagerSettings(urls=[server.url], resend_s=1)
    try:
        async with notifier(of, now_ms=lambda: clock[0]) as (made, _):
            await asyncio.to_thread(server.silence, "Quiet")
            await made.send(TENANT, current("Loud", 1, 2) + current("Quiet", 1))
            await receiver.until(lambda: ["1", "2"] in messages("firing", "Loud"))
            loud = messages("firing", "Loud")
            assert len(receiver.requests) == len(loud)  # one group
            # It does not wait for more of a group that fires since long, so the first may be alone.
            assert loud in ([["1", "2"]], [["1"], ["1", "2"]], [["2"], ["1", "2"]])
            clock[0] += 1_000
            await made.send(TENANT, current("Loud", 1, 2))  # sent again: no second message
            await asyncio.to_thread(server.kill)
            clock[0] += 1_000
            await made.send(TENANT, current("Loud", 1, 2, resolved_ms=clock[0] - 10_000) + current("Late", 1))
            await asyncio.to_thread(server.start)
            await receiver.until(lambda: messages("firing", "Late") == [["1"]])
            found = await asyncio.to_thread(server.ask, "alerts")
            assert {alert["labels"]["alertname"] for alert in found} == {"Late"}
            clock[0] += 1_000
            await made.send(TENANT, current("Late", 1, resolved_ms=clock[0] - 10_000))
            await receiver.until(lambda: messages("resolved", "Late") == [["1"]])
        assert messages("firing", "Loud") == loud
        assert messages("firing", "Quiet") == []
        assert messages("firing", "Late") == [["1"]]
    finally:
        await asyncio.to_thread(server.kill)
