"""Alerts as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

from shim.model import labels as lb
from shim.rules.notify.alert_json import fingerprint, for_alertmanager, for_webhook, generator_url, message_id
from tests.unit.shim.rules.notify.notices import alert

URL = "https://meterhouse.example.com/m/"


def test_a_firing_alert_ends_when_it_is_valid_no_more_and_a_resolved_one_then() -> None:
    firing, resolved = json.loads(for_alertmanager([alert(a="b"), alert(resolved_ms=5_500)], URL))
    assert firing == {
        "labels": {"alertname": "A", "a": "b"},
        "annotations": {"summary": "about A"},
        "startsAt": "1970-01-01T00:00:01.000Z",
        "endsAt": "1970-01-01T00:04:01.000Z",
        "generatorURL": "https://meterhouse.example.com/m/graph?g0.expr=up+%3D%3D+0&g0.tab=1",
    }
    assert resolved["endsAt"] == "1970-01-01T00:00:05.500Z"


def test_alertmanager_gets_names_and_texts_that_it_takes() -> None:
    odd = lb.make({"alertname": "A", "http.route": "/\ud800", "ü:x": "y"})
    [sent] = json.loads(for_alertmanager([replace(alert(), labels=odd)], URL))
    assert sent["labels"] == {"alertname": "A", "http_route": "/?", "__x": "y"}


def test_a_webhook_has_the_body_of_alertmanagers_webhooks() -> None:
    body = json.loads(for_webhook([alert(a="b", c="d"), alert(a="b", resolved_ms=5_000)], URL))
    assert {k: v for k, v in body.items() if k != "alerts"} == {
        "version": "4",
        "groupKey": '{}/1:1:{alertname="A"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "meterhouse",
        "groupLabels": {"alertname": "A"},
        "commonLabels": {"alertname": "A", "a": "b"},
        "commonAnnotations": {"summary": "about A"},
        "externalURL": URL,
    }
    assert [(one["status"], one["endsAt"]) for one in body["alerts"]] == [
        ("firing", "0001-01-01T00:00:00Z"),
        ("resolved", "1970-01-01T00:00:05.000Z"),
    ]
    assert json.loads(for_webhook([alert(resolved_ms=5_000)], URL))["status"] == "resolved"


def test_fingerprints_are_alertmanagers() -> None:
    """Source: an answer of Alertmanager 0.25 (GET /api/v2/alerts)."""
    assert fingerprint(lb.make({"alertname": "A", "fear": "love is not enögh"})) == "f7d903071675d571"


def test_the_id_of_a_message_is_that_of_its_alerts_in_their_states() -> None:
    one, two, over = alert(a="1"), alert(a="2"), alert(a="1", resolved_ms=9)
    assert message_id([one, two]) == message_id([two, one])
    assert len({message_id(m) for m in ([one], [two], [over], [one, two], [alert(a="1", tenant="2:1")])}) == 5


def test_the_page_of_an_expression() -> None:
    assert (
        generator_url("http://a", 'x{y="+ &"} > 1')
        == "http://a/graph?g0.expr=x%7By%3D%22%2B+%26%22%7D+%3E+1&g0.tab=1"
    )


def test_no_name_that_is_changed_takes_the_place_of_the_tenants() -> None:
    spoofed = lb.make({"alertname": "A", "org_id": "1", "org~id": "2", "org-id": "3"})
    [sent] = json.loads(for_alertmanager([replace(alert(), labels=spoofed)], URL))
    assert sent["labels"] == {"alertname": "A", "org_id": "1"}


def test_a_webhook_has_an_alerts_odd_name_as_text() -> None:
    assert json.loads(for_webhook([alert("A\ud800")], URL))["groupLabels"] == {"alertname": "A?"}
