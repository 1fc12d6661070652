"""The document of one tick's result."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from indexer.subscriptions.messages_of_subscriptions import MAX_PAYLOAD_BYTES, Subscription, TickResult
from shim.snql.answering import LanguageAnswer

#: The version of the document's form. Source: the seeds.
VERSION: Final = 3


def result_of(of: Subscription, subscription_id: str, tick_s: int, found: LanguageAnswer | str) -> TickResult:
    """Return the result of a tick; `found` is an error's text where the query cannot be answered."""
    body = _document(of, subscription_id, tick_s, found)
    if len(body) > MAX_PAYLOAD_BYTES:
        error = f"the result has {len(body)} bytes: expected at most {MAX_PAYLOAD_BYTES}"
        body = _document(of, subscription_id, tick_s, error)
    return TickResult(
        org_id=of.org_id, project_id=of.project_id, id=of.id, tick_s=tick_s, payload=body.decode()
    )


def _document(of: Subscription, subscription_id: str, tick_s: int, found: LanguageAnswer | str) -> bytes:
    payload: dict[str, Any] = {
        "subscription_id": subscription_id,
        "request": {
            "query": of.query, "time_window": of.time_window_s, "resolution": of.resolution_s,
            "tenant_ids": {"organization_id": of.org_id, "project_id": of.project},
        },
        "result": {"data": [], "meta": []},
        "timestamp": datetime.fromtimestamp(tick_s, UTC).isoformat(),
        "entity": of.entity,
    }  # fmt: skip
    if isinstance(found, str):
        payload["error"] = found
    else:
        payload["result"] = {"data": found.data, "meta": found.meta}
        if found.totals is not None:
            payload["result"]["totals"] = found.totals
    return msgspec.json.encode({"version": VERSION, "payload": payload})
