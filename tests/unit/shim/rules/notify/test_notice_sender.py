"""A sender goes on after alerts that cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shim.metrics import ShimMetrics
from shim.notify.http_poster import PostAnswer, PostOutcome
from shim.rules.notify.alert_json import TenantAlert
from shim.rules.notify.notice_queue import NoticeQueue
from shim.rules.notify.notice_sender import NoticeSender, Receiver
from tests.unit.shim.rules.notify.notices import alert


def test_an_alert_that_cannot_be_written_does_not_hold_up_other_tenants() -> None:
    sent: list[str] = []

    async def post(alerts: Sequence[TenantAlert]) -> PostAnswer:
        if any(one.tenant == "2:1" for one in alerts):
            raise OverflowError
        sent.extend(one.tenant for one in alerts)
        return PostAnswer(PostOutcome.DELIVERED, 200)

    async def close() -> None:
        return

    async def run() -> None:
        receiver = Receiver("webhook", post, close, is_final=lambda answer: answer.status == 422)
        queue = NoticeQueue(10, key=lambda a: a.tenant, group=lambda _: None)
        sender = NoticeSender(receiver, queue, 10, ShimMetrics())
        sender.put([alert(tenant="1:1"), alert(tenant="2:1"), alert(tenant="3:1")])
        await sender.stop(10)

    asyncio.run(run())
    assert sorted(sent) == ["1:1", "3:1"]  # tenants of a refused message are told in any order
