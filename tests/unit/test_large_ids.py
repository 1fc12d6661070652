"""Ids of orgs and projects beyond 32 bits: every way in refuses them with the same words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest
from multidict import CIMultiDict

from agent.settings import AgentSettings
from agent.wire.frame import FrameError
from agent.wire.heartbeat import Heartbeat
from agent.wire.metadata import MetadataMessage
from indexer.access.grants import EntryError, parse_grant, parse_tenant
from indexer.deletion.deletion_request import DeletionRequest
from indexer.diagnosis.self_test import RESERVED
from indexer.receive.messages import parse
from indexer.settings import Settings as IndexerSettings
from indexer.subscriptions.messages_of_subscriptions import SentTick
from indexer.write.frame_to_columns import check
from shim.http.snql import ids_of
from shim.model.errors import BadData, Unauthorized
from shim.model.tenancy import TenancySettings, Tenant, TenantResolver
from shim.snql.lower import Asked, lower
from shim.snql.parser import parse_snql
from tests.support.frames import FrameRows, make_frame

LARGE: Final = 2**32
WORDS: Final = "expected 1 to 4294967295, as tables have 32 bits for it"


def _message(**tenant: int) -> None:
    message: dict[str, Any] = {
        "org_id": 1,
        "project_id": 1,
        **tenant,
        "type": "c",
        "timestamp": 10,
        "value": 1,
    }
    body = msgspec.json.encode({**message, "name": "x"})
    (rejected,) = parse(body, key="k", created_ms=10_000, latest_s=60, max_messages=1).rejected
    raise BadData(rejected.reason)


def _frame(org_id: int = LARGE) -> None:
    check(make_frame(FrameRows(), org_id=org_id), latest_s=0)


def _header(tenant: str = f"1:{LARGE}") -> None:
    TenantResolver(TenancySettings(mode="header")).tenant(CIMultiDict({"X-Scope-OrgID": tenant}))


def _snql(where: str) -> None:
    text = f"MATCH (metrics_counters) SELECT sum(value) WHERE {where}"
    lower(text, parse_snql(text, 1_000), Asked(Tenant(1, 2), 86_400))


@pytest.mark.parametrize(
    ("way", "error"),
    [
        (lambda: _message(org_id=LARGE), BadData),
        (lambda: _message(project_id=2**63), BadData),
        (_frame, FrameError),
        (_header, Unauthorized),
        (lambda: parse_grant(f"{LARGE}:*"), EntryError),
        (lambda: TenancySettings(org_id=LARGE), ValueError),
        (lambda: ids_of("tenant_ids.organization_id", LARGE), BadData),
        (lambda: ids_of("mql_context.scope.project_ids", [1, LARGE]), BadData),
        (lambda: _snql(f"org_id = {LARGE}"), BadData),
        (lambda: _snql(f"project_id IN (2, {2**40})"), BadData),
    ],
)
def test_the_same_words_everywhere(way: Callable[[], None], error: type[Exception]) -> None:
    with pytest.raises(error) as refused:
        way()
    assert WORDS in str(refused.value)


def test_the_largest_id() -> None:
    assert ids_of("mql_context.scope.project_ids", LARGE - 1) == (LARGE - 1,)
    assert parse_tenant(f"{LARGE - 2}:{LARGE - 1}") == Tenant(LARGE - 2, LARGE - 1)


@pytest.mark.parametrize(
    ("way", "error"),
    [
        (lambda: _message(org_id=RESERVED), BadData),
        (lambda: _frame(RESERVED), FrameError),
        (lambda: _header(f"{RESERVED}:1"), Unauthorized),
        (lambda: parse_grant(f"{RESERVED}:*"), EntryError),
        (lambda: TenancySettings(org_id=RESERVED), ValueError),
    ],
)
def test_no_tenant_is_the_reserved_org_of_the_doctor(way: Callable[[], None], error: type[Exception]) -> None:
    with pytest.raises(error) as refused:
        way()
    assert f"the org {RESERVED} is reserved for meterhouse doctor" in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (AgentSettings, {}),
        (IndexerSettings, {}),
        (DeletionRequest, {"metrics": []}),
        (Heartbeat, {"agent": "a", "epoch": 1}),
        (MetadataMessage, {"project_id": 1, "metrics": []}),
        (SentTick, {"project_id": 1, "id": "0" * 32, "tick_s": 60}),
    ],
)
def test_no_setting_or_document_is_of_the_reserved_org(kind: type[Any], fields: dict[str, Any]) -> None:
    msgspec.convert({**fields, "org_id": RESERVED - 1}, kind)
    with pytest.raises(msgspec.ValidationError, match="org_id"):
        msgspec.convert({**fields, "org_id": RESERVED}, kind)
