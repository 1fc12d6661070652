"""Tells Alertmanagers and the webhook of alerts: the AlertSink of a running server.

Owns the senders: one for each Alertmanager that discovery finds, and one for the webhook. Alerts of several
tenants go to the same receivers, so in multi-tenant modes labels name the tenant: no rule can set them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from agent.net.tls import client_contexts
from agent.runtime.logs import Log
from shim.metrics import ShimMetrics
from shim.model import labels as lb
from shim.model.tenancy import Tenant
from shim.notify.http_poster import HttpPoster, PostAnswer, PostOutcome
from shim.notify.server_notices import ServerNotices
from shim.notify.signed_webhook import SignedWebhook
from shim.rules.alert_sink import AlertNotice
from shim.rules.notify import alert_json, receiver_secrets
from shim.rules.notify.alert_json import TenantAlert
from shim.rules.notify.alertmanager_discovery import ALERTS_PATH, Alertmanager, AlertmanagerDiscovery
from shim.rules.notify.name_lookup import NameLookup
from shim.rules.notify.notice_queue import NoticeQueue
from shim.rules.notify.notice_sender import MAX_AT_ONCE, NoticeSender, Receiver
from shim.rules.notify.resend_book import ResendBook
from shim.settings import AlertmanagerSettings, AlertWebhookSettings, ShimSettings

if TYPE_CHECKING:
    import ssl

_log: Final = logging.getLogger("shim.notifications")

#: Labels of the tenant, where there are several.
ORG_LABEL: Final = "org_id"
PROJECT_LABEL: Final = "project_id"
#: Name of the webhook in metrics; its URL may contain a secret.
WEBHOOK: Final = "webhook"
#: An alert is valid for this many resend delays, if its group's interval is shorter. Source: Prometheus 3.x,
#: AlertingRule.sendAlerts.
_VALID_RESENDS: Final = 4
#: How long the start waits for the first look at Alertmanagers.
_FIRST_LOOK_S: Final = 3.0
#: How long stopping may take to send queued alerts.
DRAIN_S: Final = 3.0
#: Statuses of a webhook that will never take this message.
_NEVER: Final = frozenset({400, 410, 413, 422})


@dataclass(frozen=True, slots=True)
class _Line:
    """A sender and the book of the alerts it was given."""

    sender: NoticeSender
    book: ResendBook


class AlertNotifier:
    """Runs in one event loop. `now_ms` is the wall clock.

    Raises TlsError for certificates that cannot be used.
    """

    def __init__(
        self,
        settings: ShimSettings,
        external_url: str,
        metrics: ShimMetrics,
        notices: ServerNotices,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings
        self._external_url = external_url
        self._metrics = metrics
        self._notices = notices
        self._now_ms = now_ms
        self._names_tenant = settings.tenancy.mode != "single"
        of = settings.alertmanager
        names = NameLookup(of.dns_server)
        self._discovery = AlertmanagerDiscovery(of, names.addresses, names.services)
        self._tls = _tls(of)
        self._lines: dict[Alertmanager | str, _Line] = {}
        self._looking: asyncio.Task[None] | None = None
        self._look_lock = asyncio.Lock()

    @property
    def urls(self) -> list[str]:
        """The addresses that alerts are posted to, of Alertmanagers alone."""
        return [at.url + ALERTS_PATH for at in self._lines if isinstance(at, Alertmanager)]

    async def start(self) -> None:
        """Look for Alertmanagers, once at once and then again and again."""
        if self._settings.alert_webhook.is_set:
            self._lines[WEBHOOK] = self._webhook_line()
        of = self._settings.alertmanager
        if of.urls or of.files or of.dns:
            with suppress(TimeoutError):  # a slow name server does not delay the start
                await asyncio.wait_for(self._look(), _FIRST_LOOK_S)
            self._looking = asyncio.create_task(self._look_again(), name="shim-alertmanagers")

    async def send(self, tenant: Tenant, alerts: Sequence[AlertNotice]) -> None:
        """Queue the alerts that are due."""
        now_ms = self._now_ms()
        name = str(tenant)
        told = [TenantAlert(name, self._shown(tenant, alert), alert) for alert in alerts]
        for line in self._lines.values():
            if due := [self._lasting(alert, now_ms) for alert in line.book.due(told, now_ms)]:
                line.sender.put(due)

    async def reload(self) -> Sequence[str]:
        """Look for Alertmanagers now; return the problems of their sources."""
        if self._looking is None:
            return []
        return [f"Alertmanagers of {source}: {text}" for source, text in (await self._look()).items()]

    async def stop(self) -> None:
        """Send the queues for a while, and close all connections."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait([looking])
        lines, self._lines = self._lines, {}
        await asyncio.gather(*(line.sender.stop(DRAIN_S) for line in lines.values()))

    def _lasting(self, alert: TenantAlert, now_ms: int) -> TenantAlert:
        """Return an alert that is valid until it was due to be sent several times."""
        until_ms = now_ms + round(_VALID_RESENDS * self._settings.alertmanager.resend_s * 1000)
        notice = alert.notice
        if notice.valid_until_ms >= until_ms:
            return alert
        return replace(alert, notice=replace(notice, valid_until_ms=until_ms))

    def _shown(self, tenant: Tenant, alert: AlertNotice) -> lb.Labels:
        """Return the labels for receivers. Rules over a whole org keep the project that their series name."""
        if not self._names_tenant:
            return alert.labels
        own = {ORG_LABEL: str(tenant.org_id)}
        if tenant.project_id is not None:
            own[PROJECT_LABEL] = str(tenant.project_id)
        return lb.make({**dict(alert.labels), **own})

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(self._settings.alertmanager.refresh_s)
            try:
                await self._look()
            except Exception:
                _log.exception("event=alertmanagers_not_looked_for")

    async def _look(self) -> Mapping[str, str]:
        """Start senders of new Alertmanagers, stop those of ones that are gone; return the problems."""
        async with self._look_lock:  # an operator may ask for it at any time
            return await self._look_once()

    async def _look_once(self) -> Mapping[str, str]:
        found = await asyncio.to_thread(self._discovery.look)
        self._tell(found.problems)
        gone = [at for at in self._lines if isinstance(at, Alertmanager) and at not in found.alertmanagers]
        for at in gone:
            line = self._lines.pop(at)
            _log.info("event=alertmanager_gone url=%s", at.url)
            await line.sender.stop(0.0)
        for at in found.alertmanagers:
            if at not in self._lines:
                self._lines[at] = self._alertmanager_line(at)
                _log.info("event=alertmanager_found url=%s", at.url)
        self._metrics.alertmanagers.set(len(found.alertmanagers))
        return found.problems

    def _tell(self, problems: dict[str, str]) -> None:
        for source, problem in problems.items():
            self._metrics.alertmanager_look_failures.inc()
            _log.warning("event=alertmanagers_not_read source=%s error=%s", source, problem)
        self._notices.replace(
            "alertmanagers", [f"Alertmanagers of {source}: {text}" for source, text in problems.items()]
        )

    def _alertmanager_line(self, at: Alertmanager) -> _Line:
        of = self._settings.alertmanager
        queue = NoticeQueue(of.max_queue, key=_identity, group=lambda _: None, sends_newest=True)
        receiver = _alertmanager(at, of, self._external_url, self._tls)
        sender = NoticeSender(receiver, queue, of.max_batch, self._metrics)
        return _Line(sender, ResendBook(round(of.resend_s * 1000), of_resolved=True))

    def _webhook_line(self) -> _Line:
        of = self._settings.alert_webhook
        queue = NoticeQueue(of.max_queue, key=_state, group=lambda alert: (alert.tenant, alert.name))
        sender = NoticeSender(_webhook(of, self._external_url), queue, of.max_batch, self._metrics)
        return _Line(sender, ResendBook(round(of.repeat_s * 1000), of_resolved=False))


def _tls(of: AlertmanagerSettings) -> Callable[[], ssl.SSLContext] | None:
    """Return the contexts of https, if there may be any."""
    if of.scheme != "https" and not any(url.startswith("https://") for url in of.urls):
        return None
    return client_contexts("shim.alertmanager.tls", of.tls, Log()).current


def _identity(alert: TenantAlert) -> object:
    return alert.tenant, alert.labels


def _state(alert: TenantAlert) -> object:
    return alert.tenant, alert.labels, alert.notice.fired_at_ms, alert.status


def _alertmanager(
    at: Alertmanager, of: AlertmanagerSettings, external_url: str, tls: Callable[[], ssl.SSLContext] | None
) -> Receiver:
    """Return one Alertmanager. Refused alerts are dropped: they are sent again after the resend delay."""
    poster = HttpPoster(
        timeout_s=of.timeout_s, tls=tls, server_name=at.server_name, max_connections=MAX_AT_ONCE
    )

    async def post(alerts: Sequence[TenantAlert]) -> PostAnswer:
        body = alert_json.for_alertmanager(alerts, external_url)
        try:
            headers = {"Content-Type": "application/json"} | receiver_secrets.authorization(of)
            return await poster.post(at.url + ALERTS_PATH, body, headers)
        except (OSError, ValueError) as e:
            return PostAnswer(PostOutcome.RETRY, text=str(e))

    return Receiver(
        at.url,
        post,
        poster.close,
        is_final=lambda answer: answer.outcome is PostOutcome.REFUSED,
        max_age_s=of.max_age_s,
    )


def _webhook(of: AlertWebhookSettings, external_url: str) -> Receiver:
    """Return the webhook: a message is given up only where its receiver says that it will never do."""
    webhook = SignedWebhook(None, timeout_s=of.timeout_s, max_connections=MAX_AT_ONCE)

    async def post(alerts: Sequence[TenantAlert]) -> PostAnswer:
        try:
            url, keys = receiver_secrets.webhook_url(of), receiver_secrets.signing_keys(of)
        except (OSError, ValueError) as e:
            return PostAnswer(PostOutcome.RETRY, text=str(e))
        body = alert_json.for_webhook(alerts, external_url)
        return await webhook.send(url, alert_json.message_id(alerts), body, keys, time.time())

    return Receiver(
        WEBHOOK, post, webhook.close, lambda answer: answer.status in _NEVER, max_age_s=of.max_age_s
    )
