"""`/api/v1/rules`, `/api/v1/alerts` and `/-/reload`.

Source: Prometheus 3.x `web/api/v1/api.go`, rules and alerts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from shim.http import params as p
from shim.http.context import CONTEXT
from shim.http.request import in_slot, matcher_sets, params_of, tenant_of
from shim.http.responses import answer, plain
from shim.http.status import sees_server
from shim.model import labels as lb
from shim.model.errors import BadData
from shim.model.matchers import Matcher
from shim.model.messages import quote
from shim.model.number_format import scientific_text
from shim.model.tenancy import Tenant
from shim.rules.alert_states import ActiveAlert, AlertStates
from shim.rules.group_evaluation import GroupEvaluation, RuleHealth
from shim.rules.group_runner import GroupRunner
from shim.rules.rule_file import AlertingRule, Rule
from shim.rules.stored_states import stored_evaluations

_KINDS: Final = ("", "alert", "record")
_NEVER: Final = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The filters of a request."""

    kind: str
    rules: frozenset[str]
    groups: frozenset[str]
    files: frozenset[str]
    matchers: Sequence[tuple[Matcher, ...]]
    with_alerts: bool

    def takes(self, rule: Rule) -> bool:
        """Return whether a rule is shown."""
        if self.kind and (self.kind == "alert") != isinstance(rule, AlertingRule):
            return False
        if self.rules and rule.name not in self.rules:
            return False
        return not self.matchers or any(
            all(m.matches(rule.labels.get(m.name, "")) for m in one) for one in self.matchers
        )


async def rules(request: web.Request) -> web.Response:
    """Answer with the groups of the tenant, in pages if `group_limit` says so."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    kind = given.get("type").lower()
    if kind not in _KINDS:
        raise p.invalid("type", f"not supported value {quote(kind)}")
    exclude = given.get("exclude_alerts").lower()
    if exclude not in ("", "true", "false"):
        raise p.invalid("exclude_alerts", f'converting {quote(exclude)} to a boolean: "true" or "false"')
    matchers: Sequence[tuple[Matcher, ...]] = ()
    if given.all("match[]"):
        size = context.settings.max_query_bytes
        matchers = await in_slot(context, tenant, lambda: matcher_sets(given, size))
    max_groups, token = _page(given)
    wanted = _Wanted(
        kind,
        frozenset(given.all("rule_name[]")),
        frozenset(given.all("rule_group[]")),
        frozenset(given.all("file[]")),
        matchers,
        exclude != "true",
    )
    found = list(_groups(await _evaluated(runners_of(request, tenant)), tenant, wanted))
    if token:
        starts = [n for n, (runner, _) in enumerate(found) if _token(_file(runner, tenant), runner) == token]
        if not starts:
            raise BadData(f"invalid group_next_token {quote(token)}. were rule groups changed?")
        found = found[starts[0] :]
    body: dict[str, Any] = {"groups": [shown for _, shown in found]}
    if max_groups and len(found) > max_groups:
        body = {"groups": body["groups"][:max_groups], "groupNextToken": _token_of(found[max_groups], tenant)}
    if errors := _file_errors(request, tenant):
        body["fileErrors"] = errors
    return answer(body)


async def alerts(request: web.Request) -> web.Response:
    """Answer with the pending and firing alerts of the tenant."""
    tenant = tenant_of(request)
    found = [
        one
        for _, evaluation in await _evaluated(runners_of(request, tenant))
        for states in evaluation.states
        if states is not None
        for one in _alerts(states)
    ]
    return answer({"alerts": found})


async def reload(request: web.Request) -> web.Response:
    """Reload now, as SIGHUP does, for the operator."""
    if not sees_server(request):
        return plain('Forbidden: the right "operator" is needed.\n', 403)
    problems = await request.app[CONTEXT].reloads.run()
    if problems:
        told = "\n".join(problems)  # of all tenants' files
        return plain(f"failed to reload config: {told}\n", 500)
    return plain("")


def _page(given: p.Params) -> tuple[int, str]:
    """Return the number of groups of a page, 0 for all, and the token of its first one."""
    text, token = given.get("group_limit"), given.get("group_next_token")
    if token and not text:
        raise p.invalid("group_limit", "group_limit needs to be present in order to paginate over the groups")
    if not text:
        return 0, token
    try:
        max_groups = p.integer(text)
    except ValueError:
        raise p.invalid("group_limit", f"group_limit needs to be a valid number: {quote(text)}") from None
    if max_groups <= 0:
        raise p.invalid("group_limit", "group_limit needs to be greater than 0")
    return max_groups, token


def runners_of(request: web.Request, tenant: Tenant) -> list[GroupRunner]:
    """Return the groups that a tenant sees, by file and name."""
    evaluator = request.app[CONTEXT].rules.evaluator
    every = evaluator.runners.values() if evaluator is not None else ()
    found = [one for one in every if tenant.covers(one.tenant.org_id, one.tenant.project_id)]
    return sorted(found, key=lambda one: (_file(one, tenant), one.group.name))


async def _evaluated(runners: Sequence[GroupRunner]) -> list[tuple[GroupRunner, GroupEvaluation]]:
    """Return groups with their states, of those that another shim evaluates as it stored them."""
    elsewhere = await stored_evaluations([one for one in runners if not one.restored])
    return [(one, elsewhere.get((one.tenant, one.name), one.evaluation)) for one in runners]


def _file(runner: GroupRunner, tenant: Tenant) -> str:
    """Return a file's path below the directory of the tenant that asks."""
    project_id = runner.tenant.project_id
    if tenant.project_id is None and project_id is not None:
        return f"{project_id}/{runner.group.file}"
    return runner.group.file


def _file_errors(request: web.Request, tenant: Tenant) -> list[dict[str, str]]:
    evaluator = request.app[CONTEXT].rules.evaluator
    files = evaluator.directory.files.values() if evaluator is not None else ()
    return [
        {"file": one.name, "error": one.error}
        for one in files
        if one.error and tenant.covers(one.tenant.org_id, one.tenant.project_id)
    ]


def _token_of(found: tuple[GroupRunner, dict[str, Any]], tenant: Tenant) -> str:
    return _token(_file(found[0], tenant), found[0])


def _token(file: str, runner: GroupRunner) -> str:
    """Source: getRuleGroupNextToken."""
    return hashlib.sha1(f"{file};{runner.group.name}".encode(), usedforsecurity=False).hexdigest()


def _groups(
    runners: Sequence[tuple[GroupRunner, GroupEvaluation]], tenant: Tenant, wanted: _Wanted
) -> Iterator[tuple[GroupRunner, dict[str, Any]]]:
    for runner, evaluation in runners:
        file = _file(runner, tenant)
        if (wanted.groups and runner.group.name not in wanted.groups) or (
            wanted.files and file not in wanted.files
        ):
            continue
        shown = [
            _rule(rule, evaluation.states[n], evaluation.health[n], wanted)
            for n, rule in enumerate(runner.group.rules)
            if wanted.takes(rule)
        ]
        if not shown and runner.group.rules:
            continue
        ticks = [one.tick_ms for one in evaluation.health]
        yield (
            runner,
            {
                "name": runner.group.name,
                "file": file,
                "rules": shown,
                "interval": runner.step_s,
                "limit": runner.group.limit,
                "evaluationTime": runner.seconds,
                "lastEvaluation": _time(max(ticks, default=0)),
            },
        )


def _rule(rule: Rule, states: AlertStates | None, health: RuleHealth, wanted: _Wanted) -> dict[str, Any]:
    ran = {
        "health": "err" if health.error else "ok" if health.tick_ms else "unknown",
        **({"lastError": health.error} if health.error else {}),
        "evaluationTime": health.seconds,
        "lastEvaluation": _time(health.tick_ms),
    }
    head = {"name": rule.name, "query": rule.text, "labels": dict(rule.labels)}
    if states is None or not isinstance(rule, AlertingRule):
        return {**head, **ran, "type": "recording"}
    return {
        "state": _state(states),
        **head,
        "duration": rule.for_ms / 1000,
        "keepFiringFor": rule.keep_firing_for_ms / 1000,
        "annotations": dict(rule.annotations),
        "alerts": list(_alerts(states)) if wanted.with_alerts else [],
        **ran,
        "type": "alerting",
    }


def _state(states: AlertStates) -> str:
    found = {alert.state for alert in states.active.values()}
    return "firing" if "firing" in found else "pending" if "pending" in found else "inactive"


def _alerts(states: AlertStates) -> Iterator[dict[str, Any]]:
    for alert in list(states.active.values()):
        if alert.state != "inactive":
            yield _alert(alert)


def _alert(alert: ActiveAlert) -> dict[str, Any]:
    since_ms = alert.keep_firing_since_ms
    return {
        "labels": {k: v for k, v in alert.labels if k != lb.NAME},
        "annotations": dict(alert.annotations),
        "state": alert.state,
        "activeAt": _time(alert.active_at_ms),
        **({"keepFiringSince": _time(since_ms)} if since_ms is not None else {}),
        "value": scientific_text(alert.value),
    }


def _time(time_ms: int) -> str:
    if not time_ms:
        return _NEVER
    text = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()
    return text.replace("+00:00", "Z")
