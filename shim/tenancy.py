"""Whose data a request may see. Decided from headers and settings alone, before the query text is read.

Every table is read under `org_id = ...` and, unless the tenant is a whole org, `project_id = ...`; both come
from here and nowhere else. There is no default where there is more than one tenant: a request that does not
say whose data it wants, says it twice or says it badly is refused. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import msgspec

from shim.errors import Unauthorized

MAX_ID: Final = 2**32 - 1
WHOLE_ORG: Final = "*"
_ID = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
_BEARER = re.compile(r"bearer +(\S+)", re.ASCII | re.IGNORECASE)


class TenancySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.tenancy]`."""

    #: "single": every request sees `org_id` and `project_id`. "token": the bearer token says whose data.
    #: "header": headers of a trusted proxy say it (`X-Org-Id` and `X-Project-Id`, or `X-Scope-OrgID: 1:2`).
    mode: Literal["single", "token", "header"] = "single"
    #: The org of single-tenant mode.
    org_id: int = 1
    #: The project of single-tenant mode.
    project_id: int = 1
    #: Token mode: bearer token -> "org:project", or "org:*" for all projects of an org.
    tokens: dict[str, str] = {}

    def __post_init__(self) -> None:
        if not (1 <= self.org_id <= MAX_ID and 1 <= self.project_id <= MAX_ID):
            raise ValueError(f"org_id and project_id are 1 to {MAX_ID}")
        if self.mode == "token" and not self.tokens:
            raise ValueError('mode "token" without tokens would refuse every request')
        for scope in self.tokens.values():
            if _scope(scope) is None:
                raise ValueError(f'a token\'s value is "org:project" or "org:*", not {scope!r}')


@dataclass(frozen=True, slots=True)
class Tenant:
    """One project of one org, or the whole org (`project_id` None: it is then a label of every series)."""

    org_id: int
    project_id: int | None


class Headers(Protocol):
    """The headers of a request, names in any case (multidict's CIMultiDict fits)."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


class Gate:
    """Tells the tenant of a request by its headers."""

    def __init__(self, settings: TenancySettings) -> None:
        self._settings = settings
        # Looked up by digest: how long a look-up takes says nothing about the tokens.
        self._by_digest: Mapping[bytes, Tenant] = {
            _digest(token): tenant
            for token, scope in settings.tokens.items()
            if (tenant := _scope(scope)) is not None
        }

    def tenant(self, headers: Headers) -> Tenant:
        """The tenant. Raises Unauthorized."""
        match self._settings.mode:
            case "single":
                return Tenant(self._settings.org_id, self._settings.project_id)
            case "header":
                asked = _asked(headers)
                if asked is None:
                    raise Unauthorized("no tenant: set X-Org-Id and X-Project-Id, or X-Scope-OrgID")
                return asked
            case "token":
                return self._of_token(headers)

    def _of_token(self, headers: Headers) -> Tenant:
        held = headers.getall("Authorization", ())
        match_ = _BEARER.fullmatch(held[0].strip()) if len(held) == 1 else None
        granted = self._by_digest.get(_digest(match_[1])) if match_ else None
        if granted is None:
            raise Unauthorized("no tenant: a known bearer token is needed")
        asked = _asked(headers)
        if asked is None or asked == granted:
            return granted
        if granted.project_id is None and asked.org_id == granted.org_id:
            return asked  # one project of the org the token opens
        raise Unauthorized("the token does not open the tenant that the headers ask for")


def _asked(headers: Headers) -> Tenant | None:
    """The tenant the headers name; None when they name none. Raises Unauthorized when they contradict."""
    scope = _single(headers, "X-Scope-OrgID")
    org = _single(headers, "X-Org-Id")
    project = _single(headers, "X-Project-Id")
    if scope is None and org is None and project is None:
        return None
    pair = f"{org}:{project}" if org is not None or project is not None else None
    tenants = {_scope(text) for text in (scope, pair) if text is not None}
    if len(tenants) != 1 or None in tenants:
        raise Unauthorized(
            "the tenant headers are not understood: X-Org-Id: 1 with X-Project-Id: 2, or "
            'X-Scope-OrgID: 1:2; "*" as project for all projects of the org'
        )
    return tenants.pop()


def _single(headers: Headers, name: str) -> str | None:
    values = headers.getall(name, ())
    if len(values) > 1:
        raise Unauthorized(f"{name} is given {len(values)} times")
    return values[0].strip() if values else None


def _scope(text: str) -> Tenant | None:
    """`1:2` or `1:*`; None for anything else."""
    org, colon, project = text.partition(":")
    if not colon or not _ID.fullmatch(org) or int(org) > MAX_ID:
        return None
    if project == WHOLE_ORG:
        return Tenant(int(org), None)
    if not _ID.fullmatch(project) or int(project) > MAX_ID:
        return None
    return Tenant(int(org), int(project))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
