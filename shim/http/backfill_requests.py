"""`POST /api/v1/rules/backfill`: evaluates recording rules at some ticks of the past."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

from shim.http import params as p
from shim.http.context import CONTEXT
from shim.http.request import params_of, tenant_of
from shim.http.responses import answer
from shim.http.rule_pages import runners_of
from shim.http.subscription_requests import require_write
from shim.model.errors import BadData, Unavailable
from shim.rules.rule_backfill import RuleBackfill

_MAX_TICKS: Final = 10_000_000


async def backfill(request: web.Request) -> web.Response:
    """Evaluate and store ticks for some seconds; `next` of the answer continues the work."""
    context, tenant, given = request.app[CONTEXT], tenant_of(request), await params_of(request)
    require_write(request)
    if context.rules.evaluator is None:
        raise Unavailable("no rules: expected shim.rules.path, a file or directory of rules")
    start_s, end_s = (p.required_time(given, name) // 1000 for name in ("start", "end"))
    if end_s < start_s:
        raise p.invalid("end", "end timestamp must not be before start time")
    groups, files = frozenset(given.all("rule_group[]")), frozenset(given.all("file[]"))
    runners = [
        runner
        for runner in runners_of(request, tenant)
        if runner.tenant == tenant
        and (not groups or runner.group.name in groups)
        and (not files or runner.group.file in files)
    ]
    work = RuleBackfill(
        runners,
        start_s,
        end_s,
        skip_failed=given.get("skip_failed") == "1",
        new_names_s=context.rules.new_names_s,
    )
    if sum(len(work.ticks(runner)) for runner in runners) > _MAX_TICKS:
        raise p.invalid("start", f"more than {_MAX_TICKS:,} ticks: expected a shorter range")
    return answer(_shown(await work.run(_at(given.get("next")))))


def _at(text: str) -> tuple[str, str, int] | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=tuple[str, str, int])
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise BadData("next: expected the value of an earlier answer") from None


def _shown(part: Any) -> dict[str, Any]:
    return {
        "stored": part.stored,
        "known": part.known,
        "samples": part.samples,
        "done": part.done,
        "total": part.total,
        "next": None if part.next is None else msgspec.json.encode(part.next).decode(),
    }
